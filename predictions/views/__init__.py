"""Thin callers of services and selectors, by page."""
