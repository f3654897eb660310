"""People: the user model, sign-in, export and erasure of their data."""
