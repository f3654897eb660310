"""What determines a screening: a recipe, and the factors that are left out of it in turn."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltasks.augmentation import CHANCES
from mltasks.screening.design import LARGEST
from mltasks.training.config import Recipe, RecipeError, TrainingConfig, parse_recipe

# What can be left out by setting it to 0, besides the changes of `mltasks.augmentation`.
_TRANSPLANTS = ("lesions", "healthy")


class PlanError(ValueError):
    """A plan that cannot be followed; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A screening.

    Attributes:
        name: of the plan's file.
        recipe: with everything on.
        factors: by a name for people, the changes (or `lesions` and `healthy`) that are left out
            together.
        slices: number of held-out slices of each class that the networks are tried on.
    """

    name: str
    recipe: Recipe
    factors: dict[str, tuple[str, ...]]
    slices: int

    def training(self, on: dict[str, bool]) -> TrainingConfig:
        """The run with only the factors that are `on`."""
        left_out = {part for name, parts in self.factors.items() if not on[name] for part in parts}
        config = self.recipe.training
        chances = config.chances | {part: 0.0 for part in left_out if part in CHANCES}
        return dataclasses.replace(
            config,
            chances=chances,
            lesions=0.0 if "lesions" in left_out else config.lesions,
            healthy=0.0 if "healthy" in left_out else config.healthy,
        )


def read_plan(path: Path) -> Plan:
    """Read a TOML file: a recipe's tables, and `[factors]` with lists of what each stands for.

    Raises:
        PlanError: the file is missing or not TOML, or has an invalid key or value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"cannot read the plan {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is not TOML: {error}") from None
    factors, slices = values.pop("factors", None), values.pop("slices", 40)
    try:
        recipe = parse_recipe(values, name=path.stem)
    except RecipeError as error:
        raise PlanError(f"{path}: {error}") from None
    if type(slices) is not int or slices < 1:
        raise PlanError(f"{path}: slices must be a whole number from 1 on")
    return Plan(path.stem, recipe, _factors(path, factors, recipe.training), slices)


def _factors(path: Path, values: Any, config: TrainingConfig) -> dict[str, tuple[str, ...]]:
    if not isinstance(values, dict) or not 2 <= len(values) <= LARGEST:
        raise PlanError(f"{path}: [factors] must name 2 to {LARGEST} factors")
    seen: dict[str, str] = {}
    for name, parts in values.items():
        if not isinstance(parts, list) or not parts:
            raise PlanError(f"{path}: [factors] {name!r} must list what it stands for")
        for part in parts:
            if part in _TRANSPLANTS:
                usual = getattr(config, part)
            elif part in CHANCES:
                usual = config.chances.get(part, CHANCES[part])
            else:
                known = ", ".join((*CHANCES, *_TRANSPLANTS))
                raise PlanError(f"{path}: {part!r} of {name!r} is not one of {known}")
            if part in seen:
                raise PlanError(f"{path}: {part!r} is in {seen[part]!r} and in {name!r}")
            if not usual:
                raise PlanError(f"{path}: {part!r} of {name!r} is 0 in the recipe anyway")
            seen[part] = name
    return {name: tuple(parts) for name, parts in values.items()}
