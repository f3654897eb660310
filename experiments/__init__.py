"""What docs/experiments.md and docs/model.md tell of, beside the product."""
