"""Scans, predictions and reviews: from upload to affected area."""
