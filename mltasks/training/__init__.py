"""Training: from slices to weights, resumable after any step."""

from mltasks.training.config import (
    DataConfig,
    Recipe,
    RecipeError,
    TrainingConfig,
    find_recipe,
    parse_recipe,
    read_recipe,
)
from mltasks.training.loop import Progress, Run
from mltasks.training.trainer import CheckpointError

__all__ = [
    "CheckpointError",
    "DataConfig",
    "Progress",
    "Recipe",
    "RecipeError",
    "Run",
    "TrainingConfig",
    "find_recipe",
    "parse_recipe",
    "read_recipe",
]
