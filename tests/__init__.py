"""What crosses the apps: real servers, faults, browsers and the rules of the house."""
