"""How many nodes a number of scans a day needs, what they cost, and what breaks first."""
