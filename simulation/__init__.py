"""How many nodes so many scans a day take, what they cost, and what breaks first."""
