"""The losses that training minimises."""

from __future__ import annotations

from typing import Any

from mltasks.lazy import tensorflow_module
from mltasks.training.config import TrainingConfig


def losses(outputs: Any, batch: Any) -> dict[str, Any]:
    """The three losses, each a float32 scalar tensor.

    Classes: cross-entropy over the slices. Mask: cross-entropy over the slices' cells plus the
    soft Dice loss (Milletari et al., 2016) over the slices with a tumour; slices whose tumour
    nobody has outlined count in neither. Brain: cross-entropy over all pictures.
    """
    tf = tensorflow_module()
    outputs = {name: tf.cast(value, tf.float32) for name, value in outputs.items()}
    brain, tumor, known = batch["brain"], batch["tumor"], batch["mask_known"]

    def average(values: Any, weights: Any) -> Any:
        return tf.reduce_sum(values * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)

    classes = tf.nn.softmax_cross_entropy_with_logits(batch["target"], outputs["class_logits"])
    logits = outputs["mask"][..., 0]
    cells = tf.nn.sigmoid_cross_entropy_with_logits(batch["mask"], logits)
    predicted = tf.sigmoid(logits)
    overlap = tf.reduce_sum(predicted * batch["mask"], (1, 2))
    total = tf.reduce_sum(predicted, (1, 2)) + tf.reduce_sum(batch["mask"], (1, 2))
    dice = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
    detector = tf.nn.sigmoid_cross_entropy_with_logits(brain, outputs["brain"][:, 0])
    return {
        "classes": average(classes, brain),
        "mask": 2.0 * average(tf.reduce_mean(cells, (1, 2)), brain * known)
        + average(dice, tumor * known),
        "brain": tf.reduce_mean(detector),
    }


def total(parts: dict[str, Any], config: TrainingConfig) -> Any:
    """The weighted sum that training minimises."""
    return (
        parts["classes"] + config.mask_weight * parts["mask"] + config.brain_weight * parts["brain"]
    )
