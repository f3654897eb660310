"""The code as a later release: the same, but for a column that it writes into each scan."""
