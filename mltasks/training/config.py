"""What determines a training run: one TOML file, called a recipe."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mltasks.augmentation import CHANCES
from mltasks.network import LITE0, NetworkConfig

RECIPES = Path(__file__).parents[2] / "recipes"
PRECISIONS = ("auto", "float32", "mixed_bfloat16")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The range of a number, from `least` to `most`; if `open`, `most` itself is excluded."""

    least: float
    most: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        return self.least <= value < self.most or (value == self.most and not self.open)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"{self.least:g} or more"
        return f"from {self.least:g} to {'below ' if self.open else ''}{self.most:g}"


_COUNT, _NUMBER, _SHARE = _Bounds(1), _Bounds(0), _Bounds(0, 1)
# A share that must stay below 1.
_PART = _Bounds(0, 1, open=True)
# By table and key; in lists, for each number.
_BOUNDS = {
    "network": {"size": _Bounds(32, 2048), "decoder": _COUNT, "dropout": _PART},
    "training": {
        "epochs": _COUNT,
        "slices": _COUNT,
        "negatives": _NUMBER,
        "learning_rate": _Bounds(1e-8, 1),
        "warm_up": _Bounds(0, 100),
        "weight_decay": _PART,
        "frozen_blocks": _Bounds(0, 100),
        "ema": _PART,
        "start_share": _PART,
        "lesions": _SHARE,
        "healthy": _SHARE,
        "smoothing": _PART,
        "mask_weight": _Bounds(0, 1000),
        "brain_weight": _Bounds(0, 1000),
        "patience": _NUMBER,
        "seed": _Bounds(0, 2**32 - 1),
    },
    "data": {
        "fold": _NUMBER,
        "watch": _Bounds(0, 0.5, open=True),
        "drawn": _NUMBER,
        "drawn_held_out": _NUMBER,
        "per_source": _COUNT,
    },
}


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        fold: held out; none of it is seen before the evaluation.
        watch: share of the other groups that is also set aside, to watch the run and to stop it.
        drawn, drawn_held_out: numbers of other pictures drawn by code, to train and evaluate on.
        per_source: at most this many real other pictures of one source.
    """

    fold: int = 0
    watch: float = 0.0
    drawn: int = 200
    drawn_held_out: int = 400
    per_source: int = 800


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One run, apart from its data.

    Attributes:
        network: measures of the network.
        epochs: passes over the training slices.
        slices, negatives: numbers of brain MRI and of other pictures in a batch.
        learning_rate: its peak, reached after `warm_up` epochs, then falling as a cosine to 1%.
        frozen_blocks: the stem and this many blocks keep their weights; the edges and corners that
            they detect are the same in MRI, and training is nearly twice as fast.
        ema: decay of the moving average of the weights, which becomes the final network.
        pretrained: start the encoder from ImageNet weights.
        start: model folder whose weights training continues from, batch normalisation folded in,
            relative to the project; empty to start anew.
        start_share: share of that folder's weights in the final network; averaging both keeps
            more of what the first could do on other data (Wortsman et al., 2022).
        lesions, healthy: shares of the slices without a tumour that get one, or a healthy patch,
            from another slice (`mltasks.transplant`).
        chances: how often each change of `mltasks.augmentation` is made, where not the default.
        smoothing: of the labels (Szegedy et al., 2016).
        mask_weight, brain_weight: of their losses, relative to the class loss.
        precision: of the computation: "auto" is mixed_bfloat16 if there is a GPU.
        patience: epochs without a better loss on the watched slices, after which the run stops;
            0 for never.
        seed: of everything random.
    """

    network: NetworkConfig
    epochs: int = 10
    slices: int = 28
    negatives: int = 4
    learning_rate: float = 1e-3
    warm_up: float = 0.6
    weight_decay: float = 0.02
    frozen_blocks: int = 3
    ema: float = 0.995
    pretrained: bool = True
    start: str = ""
    start_share: float = 0.0
    lesions: float = 0.0
    healthy: float = 0.0
    chances: dict[str, float] = field(default_factory=dict)
    smoothing: float = 0.05
    mask_weight: float = 1.0
    brain_weight: float = 0.5
    precision: str = "auto"
    patience: int = 0
    seed: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For model.json."""
        return {**asdict(self), "network": self.network.as_dict()}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The content of a TOML file.

    Raises:
        RecipeError: a value is out of bounds, or inconsistent with another.
    """

    name: str
    training: TrainingConfig
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        training, data = self.training, self.data
        _within("network", training.network)
        _within("training", training)
        _within("data", data)
        if training.network.size % 32:
            raise RecipeError("[network] size must be a multiple of 32")
        if training.precision not in PRECISIONS:
            raise RecipeError(f"[training] precision must be one of {', '.join(PRECISIONS)}")
        if training.start_share and not training.start:
            raise RecipeError("[training] start_share needs start")
        if training.lesions + training.healthy > 1:
            raise RecipeError("[training] lesions and healthy must be no more than 1 together")
        if training.patience and not data.watch:
            raise RecipeError("[training] patience needs [data] watch above 0, or it sees nothing")


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Names of the TOML files in a folder; by default, of the project's recipes."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def named_recipe(name: str, folder: Path = RECIPES) -> Path:
    """The file of one of the project's recipes.

    Raises:
        RecipeError: there is none of that name.
    """
    names = recipe_names(folder)
    if name not in names:
        raise RecipeError(f"there is no {name!r} in {folder.name}/; there are {', '.join(names)}")
    return folder / f"{name}.toml"


def find_recipe(given: str, folder: Path = RECIPES) -> Path:
    """The path of a TOML file, existing or not, or that of one of the project's recipes by name.

    Raises:
        RecipeError: there is none of that name.
    """
    return Path(given) if given.endswith(".toml") else named_recipe(given, folder)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; keys that it leaves out have their defaults.

    Raises:
        RecipeError: the file is missing or not TOML, its name states no version, or it has an
            unknown key or a value of the wrong type or out of bounds.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from None
    family, _, version = path.stem.rpartition("-")
    if not family or not version:
        raise RecipeError(
            f"{path}: what follows the last hyphen of a recipe's name is the network's version, "
            f"and this has none: call it {path.stem.strip('-') or 'mine'}-1.toml, say"
        )
    try:
        return parse_recipe(values, name=path.stem)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse_recipe(values: dict[str, Any], *, name: str) -> Recipe:
    """The recipe from a TOML document's tables: `network`, `training`, `chances`, `data`.

    Raises:
        RecipeError: names the table and the key.
    """
    _known(values, {"network", "training", "chances", "data"}, "a table")
    network = _build(NetworkConfig, values.get("network", {}), "network")
    chances = values.get("chances", {})
    _known(chances, set(CHANCES), "a change")
    for change, chance in chances.items():
        if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
            raise RecipeError(f"[chances] {change} must be a number from 0 to 1")
    training = _build(
        TrainingConfig,
        values.get("training", {}),
        "training",
        network=network,
        chances={change: float(chance) for change, chance in chances.items()},
    )
    if min(network.repeats) < 1:
        raise RecipeError("[network] repeats must all be 1 or more")
    if training.pretrained and not training.start and network.repeats != LITE0:
        raise RecipeError(
            "[network] repeats are not those of Lite0, for which alone there are ImageNet "
            "weights: set [training] pretrained to false"
        )
    data = _build(DataConfig, values.get("data", {}), "data")
    return Recipe(name, training, data)


def _within(table: str, config: Any) -> None:
    """Refuse numbers that are out of bounds, and NaN."""
    for key, bounds in _BOUNDS[table].items():
        value = getattr(config, key)
        if not all(one in bounds for one in (value if isinstance(value, tuple) else (value,))):
            raise RecipeError(f"[{table}] {key} must be {bounds}")


def _known(values: Any, names: set[str], what: str) -> None:
    if not isinstance(values, dict):
        raise RecipeError(f"{what} is expected where {values!r} stands")
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(sorted(names))}"
            raise RecipeError(f"{key!r} is not {what} of a recipe{hint}")


def _build(kind: Any, values: Any, table: str, **fixed: Any) -> Any:
    hints = get_type_hints(kind)
    _known(values, {f.name for f in dataclasses.fields(kind)} - set(fixed), f"a key of [{table}]")
    made = dict(fixed)
    for key, value in values.items():
        made[key] = _typed(value, hints[key], f"[{table}] {key}")
    return kind(**made)


def _typed(value: Any, hint: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in {int, float, str, bool}:
        if type(value) is not hint:
            raise RecipeError(f"{where} must be of type {hint.__name__}")
        return value
    count = len(get_args(hint))
    if not isinstance(value, list) or len(value) != count or not all(type(v) is int for v in value):
        raise RecipeError(f"{where} must be a list of {count} whole numbers")
    return tuple(value)
