"""From downloads to audited, split data sets: import, audit, split, push and pull."""
