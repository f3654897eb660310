"""The small set of drawn slices that the network's own tests use."""

from mltasks.tests.conftest import slices

__all__ = ["slices"]
