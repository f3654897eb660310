"""Experiments that docs/experiments.md and docs/model.md report on; not part of the product."""
