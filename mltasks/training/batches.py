"""Augmented batches, made in parallel with training and reproducible by seed and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mltasks.augmentation import draw_training_pair
from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.data import Sample
from mltasks.lazy import tensorflow_module
from mltasks.preprocessing import Floats, Pixels, normalise
from mltasks.training.config import TrainingConfig
from mltasks.transplant import Transplants

Batch = dict[str, Floats]
# How many batches are made ahead, and how many at a time.
_AHEAD, _AT_A_TIME = 6, 2


def steps_per_epoch(samples: Sequence[Sample], config: TrainingConfig) -> int:
    """Whole batches in one pass over the slices."""
    return len(samples) // config.slices


def mask_known(mask: Pixels | None, target: int) -> bool:
    """Whether it is known which pixels are tumour: from a mask, or because there is none.

    Without a mask, a slice with a tumour teaches its class but not the location.
    """
    return mask is not None or CLASSES[target] == NO_TUMOR


def batch_maker(
    samples: Sequence[Sample], others: Sequence[Pixels], config: TrainingConfig, epoch: int
) -> Callable[[int], Batch]:
    """A function from a step's number to its batch. Steps are independent, so any can be first.

    A batch has `image` (n, size, size, 1), `target` (n, 4), `mask` (n, size / 2, size / 2),
    `mask_known` (n,), 0 where there is a tumour and no mask of it, else 1, `brain` (n,), 1 for
    slices and 0 for other pictures, and `tumor` (n,), 1 where a mask shows one; all float32.
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(len(samples))
    size = config.network.size
    transplant = Transplants(samples, lesion=config.lesions, healthy=config.healthy)

    def make(step: int) -> Batch:
        rng = np.random.default_rng((config.seed, epoch, step))
        start = step * config.slices
        chosen = [transplant(samples[i], rng) for i in order[start : start + config.slices]]
        known = [mask_known(mask, target) for _, mask, target in chosen]
        pairs = [
            draw_training_pair(pixels, mask, size, rng, config.chances, hidden=not seen)
            for (pixels, mask, _), seen in zip(chosen, known, strict=True)
        ]
        for index in rng.integers(0, len(others), config.negatives):
            pixels = others[index]
            if rng.random() < 0.2:
                pixels = 255 - pixels
            pairs.append(draw_training_pair(pixels, None, size, rng, config.chances))
        target = np.zeros((len(pairs), len(CLASSES)), np.float32)
        target[np.arange(len(chosen)), [index for _, _, index in chosen]] = 1
        return {
            "image": normalise(np.stack([canvas for canvas, _ in pairs])),
            "target": target * (1 - config.smoothing) + np.float32(config.smoothing / len(CLASSES)),
            "mask": np.stack([mask for _, mask in pairs]),
            "mask_known": np.array(known + [True] * config.negatives, np.float32),
            "brain": (np.arange(len(pairs)) < len(chosen)).astype(np.float32),
            "tumor": np.array([mask.any() for _, mask in pairs], np.float32),
        }

    return make


def dataset(
    samples: Sequence[Sample],
    others: Sequence[Pixels],
    config: TrainingConfig,
    epoch: int,
    *,
    first: int = 0,
) -> Any:
    """The epoch's batches from step `first` on, as a `tf.data.Dataset`, made in threads."""
    tf = tensorflow_module()
    make = batch_maker(samples, others, config, epoch)
    n, size = config.slices + config.negatives, config.network.size
    shapes = {
        "image": (n, size, size, 1),
        "target": (n, len(CLASSES)),
        "mask": (n, size // 2, size // 2),
        "mask_known": (n,),
        "brain": (n,),
        "tumor": (n,),
    }

    def arrays(step: Any) -> list[Floats]:
        batch = make(int(step))
        return [batch[name] for name in shapes]

    def tensors(step: Any) -> Any:
        values = tf.numpy_function(arrays, [step], [tf.float32] * len(shapes))
        return {
            name: tf.ensure_shape(value, shape)
            for (name, shape), value in zip(shapes.items(), values, strict=True)
        }

    steps = tf.data.Dataset.range(first, steps_per_epoch(samples, config))
    return steps.map(tensors, num_parallel_calls=_AT_A_TIME, deterministic=True).prefetch(_AHEAD)
