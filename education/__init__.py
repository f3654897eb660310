"""Tumour-information pages on Wagtail."""
