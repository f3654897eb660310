"""The runs of a screening, one after the other; finished runs are kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mltasks import release
from mltasks.data import DataError, Record, Sample, data_digest, load_samples, read_manifest
from mltasks.drafts import AGAIN, replacing
from mltasks.engines import open_engine
from mltasks.evaluation.robustness import pick
from mltasks.folds import learnt_from, samples_digest, split
from mltasks.inference import read_model
from mltasks.negatives import learning_pictures
from mltasks.preprocessing import Pixels
from mltasks.screening import probes
from mltasks.screening.design import plackett_burman
from mltasks.screening.plan import Plan
from mltasks.training import Run
from mltasks.training.loop import Watch

Report = Callable[[str], None]
RUNS = "runs"
_SIDE = "checkpoint"


def levels(plan: Plan) -> list[dict[str, bool]]:
    """Which factors are on in each run: those of the design, and one with none at all."""
    names = list(plan.factors)
    design = plackett_burman(len(names))
    rows = [dict(zip(names, map(bool, row), strict=True)) for row in design]
    return [*rows, dict.fromkeys(names, False)]


def _balanced(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` slices of each class, from as many groups as possible."""
    labels = sorted({record.label for record in records})
    return [
        record
        for label in labels
        for record in pick([own for own in records if own.label == label], count)
    ]


def identity(plan: Plan, data: Mapping[str, Any]) -> str:
    """Identifies plan and data, so that results of different ones are not mixed.

    Args:
        data: what is trained and tried on, JSON-able.
    """
    about = {
        "training": plan.recipe.training.as_dict(),
        "data": data,
        "factors": {name: list(parts) for name, parts in plan.factors.items()},
        "slices": plan.slices,
        "probes": probes.VERSION,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def screen(
    plan: Plan,
    data: Path,
    output: Path,
    *,
    negatives: Path | None = None,
    watch: Callable[[int, int], Watch],
    report: Report,
) -> dict[str, Any]:
    """Train and try a network for each run of the plan; continue where an earlier call stopped.

    Args:
        negatives: folder with `train/<source>/…`, as for training.
        watch: given the number of a run and the count of runs, returns what is told of the
            run's progress.

    Returns:
        The content of `screening.json`: plan, runs with their levels and scores.

    Raises:
        DataError: the data is not as needed, or `output` holds another screening.
    """
    records = read_manifest(data)
    learnt, held_out = split(records, plan.recipe.data.fold)
    samples, tried = (load_samples(data, own) for own in (learnt, _balanced(held_out, plan.slices)))
    named = learning_pictures(plan.recipe.data, negatives)
    about = learnt_from(plan.recipe.data, samples, (), named)
    name = identity(plan, about | {"slices tried on": samples_digest(tried)})
    _claim(output, name)
    rows = levels(plan)
    todo = [n for n in range(len(rows)) if not (output / RUNS / f"{n:02}.json").exists()]
    if todo:
        report(f"{len(todo)} of {len(rows)} runs to do")
        others = [pixels for _, pixels in named]
        shown = probes.build(tried, plan.recipe.training.network.size)
        for number in todo:
            row = _run(plan, rows[number], samples, others, shown, output, watch(number, len(rows)))
            _write(output / RUNS / f"{number:02}.json", row)
            shutil.rmtree(output / _SIDE, ignore_errors=True)
            plain = row["scores"][probes.PLAIN]["accuracy"]["value"]
            report(f"run {number + 1}/{len(rows)}: {plain:.1%} right on unchanged slices")
    done = [json.loads((output / RUNS / f"{n:02}.json").read_text()) for n in range(len(rows))]
    result = {
        "name": plan.name,
        "identity": name,
        "data_digest": data_digest(records),
        "fold": plan.recipe.data.fold,
        "slices_a_class": plan.slices,
        "training": plan.recipe.training.as_dict(),
        "factors": {name: list(parts) for name, parts in plan.factors.items()},
        "runs": done,
    }
    _write(output / "screening.json", result)
    return result


def try_models(plan: Plan, data: Path, models: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Scores of finished networks on the slices and probes of a plan, by name and version.

    Raises:
        DataError, ModelError: data or a model folder is not as needed, or a network has learnt
            from these slices.
    """
    records, fold = read_manifest(data), plan.recipe.data.fold
    _, held_out = split(records, fold)
    tried = load_samples(data, _balanced(held_out, plan.slices))
    found: dict[str, dict[str, Any]] = {}
    shown: dict[int, dict[str, probes.Probe]] = {}
    for folder in models:
        card, content, _ = read_model(folder)
        release.check_unseen(card, records, fold)
        size = card["input"]["size"]
        if size not in shown:
            shown = {size: probes.build(tried, size)}
        engine = open_engine("onnx", content)
        found[f"{card['name']}-{card['version']}"] = {
            name: probes.score(engine, probe) for name, probe in shown[size].items()
        }
    return found


def _run(
    plan: Plan,
    on: dict[str, bool],
    samples: Sequence[Sample],
    others: Sequence[Pixels],
    shown: dict[str, probes.Probe],
    output: Path,
    watch: Watch,
) -> dict[str, Any]:
    config, started = plan.training(on), time.monotonic()
    run = Run(config, samples, others, output / _SIDE)
    # After an interruption; a checkpoint of any other run is refused.
    run.resume()
    weights = run.go(watch)
    engine = open_engine("onnx", release.export_weights(config.network, weights))
    return {
        "on": on,
        "scores": {name: probes.score(engine, probe) for name, probe in shown.items()},
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def _claim(output: Path, name: str) -> None:
    """Mark the folder as belonging to this screening."""
    mark = output / "identity"
    (output / RUNS).mkdir(parents=True, exist_ok=True)
    if not mark.exists():
        if any((output / RUNS).iterdir()):
            raise DataError(f"{output} holds runs of an unknown screening: give another --output")
        mark.write_text(name, encoding="utf-8")
    elif mark.read_text(encoding="utf-8") != name:
        raise DataError(
            f"{output} holds another plan's runs, or those of other slices, masks or --negatives: "
            "give another --output"
        )


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    with replacing(path, remedy=AGAIN) as draft:
        draft.write_text(text, encoding="utf-8")
