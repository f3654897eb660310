"""Real processes, killed and stopped in mid-work."""
