"""The simulator against theory, and the page against the simulator."""
