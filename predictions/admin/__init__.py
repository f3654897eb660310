"""The records in the admin: to be looked at, reviewed and deleted, never to be edited."""

from predictions.admin import access, drift, models, predictions, reviews, scans

__all__ = ["access", "drift", "models", "predictions", "reviews", "scans"]
