"""From the network's maps to what a user is shown: the affected area and the attention map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.preprocessing import Box, Floats, Geometry, Pixels

Mask = NDArray[np.bool_]


def sigmoid(logits: Floats) -> Floats:
    """Logistic function, without overflow."""
    return np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * logits))


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities along the last axis, in double precision so that they add up to 1."""
    wide = np.asarray(logits, np.float64)
    powers: NDArray[np.float64] = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def entropy(probabilities: NDArray[np.floating]) -> float:
    """Normalised entropy, 0 (certain) to 1 (all classes equally likely)."""
    positive = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1.0)
    value = float(-(positive * np.log(positive)).sum() / np.log(positive.size))
    return min(1.0, max(0.0, value))


def components(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Label the 4-connected parts of a 2-D mask: int32 of the same shape (0 outside), count.

    Works on horizontal runs, of which a mask has few, so that the Python part stays short.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    above = 0
    for run in range(len(rows)):
        while rows[above] < rows[run] - 1:
            above += 1
        other = above
        while rows[other] == rows[run] - 1:
            if starts[other] < ends[run] and starts[run] < ends[other]:
                parents[root(run)] = root(other)
            other += 1
    numbers: dict[int, int] = {}
    labels = np.zeros(mask.shape, np.int32)
    for run in range(len(rows)):
        number = numbers.setdefault(root(run), len(numbers) + 1)
        labels[rows[run], starts[run] : ends[run]] = number
    return labels, len(numbers)


def drop_specks(mask: Mask, share: float) -> Mask:
    """Keep the parts that have at least `share` of the largest part's cells."""
    labels, count = components(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= share * sizes.max()
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)


def affected_area(
    mask_logits: Floats, geometry: Geometry, *, threshold: float, speck_share: float
) -> Mask:
    """The affected area on the picture's own pixels.

    Only the part of the picture around the area is resampled, so the time does not grow with
    the size of the upload.

    Args:
        mask_logits: float32 (n, n) over the network's input.
        threshold: probability from which a cell counts as affected.
        speck_share: smaller parts, relative to the largest, are dropped.

    Returns:
        bool (height, width).
    """
    area = np.zeros((geometry.height, geometry.width), np.bool_)
    probability = sigmoid(mask_logits)
    above = probability >= threshold
    if not above.any():
        return area
    kept = drop_specks(above, speck_share)
    probability = np.where(above & ~kept, np.float32(0), probability)
    window = _window(kept, geometry)
    if window is None:
        return area
    left, top, right, bottom = window
    area[top:bottom, left:right] = geometry.resample(probability, window) >= threshold
    return area


def contours(
    mask_logits: Floats, geometry: Geometry, area: Mask, *, least: float, inner: float, outer: float
) -> tuple[Mask, Mask]:
    """What is surely affected, and what may be: bounds of the affected area.

    Args:
        mask_logits: float32 (n, n) over the network's input.
        area: bool (height, width), as `affected_area` gives it.
        least: probability that a part needs somewhere to count at all.
        inner, outer: probability from which a place lies within the inner and outer bound.

    Returns:
        Two bool masks (height, width): one inside `area`, one around it. Empty if it is.
    """
    sure, possible = np.zeros((2, *area.shape), np.bool_)
    if not area.any():
        return sure, possible
    probability = sigmoid(mask_logits)
    labels, count = components(probability >= min(outer, least))
    strong = np.unique(labels[probability >= least])
    kept = np.isin(labels, strong[strong > 0]) if count else np.zeros(labels.shape, np.bool_)
    window = _window(kept, geometry) if kept.any() else None
    if window is None:
        return area.copy(), area.copy()
    left, top, right, bottom = window
    values = geometry.resample(np.where(kept, probability, np.float32(0)), window)
    inside = np.s_[top:bottom, left:right]
    sure[inside] = area[inside] & (values >= inner)
    possible[inside] = values >= outer
    return sure, possible | area


def _window(cells: Mask, geometry: Geometry) -> Box | None:
    """The picture pixels that the cells, and one cell around them, can reach."""
    cell = geometry.size / cells.shape[0]
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    x0, y0 = geometry.to_image((columns[0] - 1) * cell, (rows[0] - 1) * cell)
    x1, y1 = geometry.to_image((columns[-1] + 2) * cell, (rows[-1] + 2) * cell)
    left, top = max(geometry.box[0], int(x0)), max(geometry.box[1], int(y0))
    right = min(geometry.box[2], int(np.ceil(x1)))
    bottom = min(geometry.box[3], int(np.ceil(y1)))
    return (left, top, right, bottom) if right > left and bottom > top else None


def bounding_box(area: Mask) -> Box | None:
    """Left, top, right, bottom (the last two exclusive) of the area, None if it is empty."""
    rows = np.flatnonzero(area.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(area[rows[0] : rows[-1] + 1].any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def attention_map(evidence: Floats, geometry: Geometry) -> Pixels:
    """The class activation map (Zhou et al., 2016) on the picture's pixels.

    Args:
        evidence: float32 (n, n): what each cell adds to the predicted class's logit.

    Returns:
        uint8 (height, width), 255 where the evidence is strongest, 0 where there is none or
        it speaks against the class.
    """
    attention = np.zeros((geometry.height, geometry.width), np.uint8)
    positive = np.maximum(evidence, 0)
    peak = float(positive.max())
    if peak <= 0:
        return attention
    scaled = np.rint(positive * (255 / peak)).astype(np.uint8)
    left, top, right, bottom = geometry.box
    cell = evidence.shape[0] / geometry.size
    corners = tuple(min(value * cell, float(evidence.shape[0])) for value in geometry.content)
    attention[top:bottom, left:right] = np.asarray(
        Image.fromarray(scaled).resize(
            (right - left, bottom - top), Image.Resampling.BICUBIC, box=corners
        )
    )
    return attention


def hottest_point(
    attention: Pixels, box: Box | None, area: Mask, likelihood: Floats | None = None
) -> tuple[int, int] | None:
    """The pixel (x, y) of the strongest attention, inside the affected area if there is one.

    The cells of the attention map are coarse; where the area is known it says more exactly
    which part of a cell was meant.

    Args:
        attention: uint8 (height, width).
        box: bounding box of the area, None if it is empty.
        area: bool (height, width).
        likelihood: float32, of the box's size: how probably each pixel is affected. Attention
            is weighed by it.
    """
    left, top, right, bottom = box or (0, 0, attention.shape[1], attention.shape[0])
    within: Pixels | Floats = attention[top:bottom, left:right]
    if box is not None:
        within = np.where(area[top:bottom, left:right], within, 0)
        if likelihood is not None:
            within = within * likelihood
    y, x = np.unravel_index(int(np.argmax(within)), within.shape)
    if not within[y, x]:
        return None if box is None else hottest_point(attention, None, area)
    return left + int(x), top + int(y)
