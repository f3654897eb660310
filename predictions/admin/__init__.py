"""The records in the admin: to be looked at, reviewed and deleted, never to be edited."""

from predictions.admin import access, models, predictions, reviews, scans

__all__ = ["access", "models", "predictions", "reviews", "scans"]
