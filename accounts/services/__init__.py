"""Writes about people: whose scans are whose, export and erasure."""
