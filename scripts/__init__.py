"""What make and the workflows run."""
