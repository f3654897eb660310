"""The site as people use it, in a real browser."""
