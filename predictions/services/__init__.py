"""Every write to the records, by subject. One transaction each; arguments by keyword."""
