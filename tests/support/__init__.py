"""Real servers, pictures and records for every app's tests."""
