"""Keypoints of objects: places that their centre points to, and peaks of a heat map for each.

Shapes: maps [B, h, w, F] -> those of centre_detector.py, `points` logits [B, h4, w4, K] and
`offsets` [B, h4, w4, 4 K], of K keypoints; N objects of an image.
Reference: Zhou et al., 2019, arXiv:1904.07850, section 5.2. Other than there, a peak counts by its
probability times its nearness, and every keypoint has shifts of its own, as the location refinement
of Insafutdinov et al., 2016, arXiv:1605.03170.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kfp_vision.components.shared.heads.centre_detector import (
    CELL,
    PRIOR_LOGIT,
    branch,
    centre_branches,
    detect,
    middles,
    peak_logits,
    pyramid,
    read_cells,
)

__all__ = ["find_keypoints", "keypoint_detector"]

# How far a keypoint may be from where the centre points to: a standard deviation, as a share of the
# square root of the area of the box.
_REACH = 0.15
# A peak of which probability times nearness is below is none of the object.
_LEAST = 0.02


def keypoint_detector(
    features: Sequence[Any], num_classes: int, num_keypoints: int, dropout: float
) -> dict[str, Any]:
    """Returns what `centre_detector` does and, float32, `points` and `offsets`.

    `points`: logits of each keypoint in the cell. `offsets`: from the middle of the cell to (x, y)
    of every keypoint, in cells: first of the object whose centre is there, then of the keypoint
    that is in the cell or beside it.

    Args:
        features: As of `Task.build_head`.
        num_classes: C.
        num_keypoints: K.
        dropout: Rate before the last convolutions.
    """
    x = pyramid(features)
    return {
        **centre_branches(x, num_classes, dropout),
        "points": branch(x, "points", num_keypoints, PRIOR_LOGIT, dropout),
        "offsets": branch(x, "offsets", 4 * num_keypoints, 0.0, dropout),
    }


def find_keypoints(maps: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Returns what `find_peaks` does and `keypoints` [B, N, K, 3]: x, y in pixels, and a score.

    A keypoint is the peak of its heat map whose probability times its nearness is highest, a
    Gaussian around the place that the centre points to; without such a peak it is that place. The
    score is the probability there. Works as `find_peaks` does.

    Args:
        maps: As the head returns them.
        most: As of `find_peaks`; of each keypoint as many peaks are looked at.
    """
    ops = keras.ops
    found, centres = detect(maps["heat"], maps["reach"], most)
    _, height, width, number = maps["points"].shape
    places, shifts = maps["offsets"][..., : 2 * number], maps["offsets"][..., 2 * number :]
    pointed = ops.reshape(read_cells(places, centres), (-1, centres.shape[1], number, 2))
    pointed = pointed * CELL + middles(centres, width)[:, :, None]
    x, y = (_within(pointed[..., axis], side) for axis, side in enumerate((width, height)))

    peaks_x, peaks_y, p = _peaks(maps["points"], shifts, most)
    boxes = found["boxes"]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    variance = ops.maximum(_REACH**2 * area, float(CELL**2))[:, :, None, None]
    apart = (peaks_x - x[..., None]) ** 2 + (peaks_y - y[..., None]) ** 2
    weights = p * ops.exp(-0.5 * apart / variance)
    # Not `argmax`: it is no operation of ONNX.
    best, place = ops.top_k(weights, 1)
    is_near = best[..., 0] >= _LEAST
    chosen = ops.one_hot(place[..., 0], weights.shape[-1], dtype="float32")
    p_there = _read_each(maps["points"], x, y)
    held = [
        ops.where(is_near, ops.sum(chosen * peak, axis=-1), there)
        for peak, there in ((peaks_x, x), (peaks_y, y), (p, p_there))
    ]
    return {**found, "keypoints": ops.stack(held, axis=-1)}


def _peaks(points: Any, shifts: Any, most: int) -> tuple[Any, Any, Any]:
    """Returns x, y in pixels and probabilities of the peaks of each keypoint, [B, 1, K, P]."""
    ops = keras.ops
    _, height, width, number = points.shape
    most = min(most, height * width)
    by_keypoint = ops.reshape(peak_logits(points), (-1, height * width, number))
    logits, cells = ops.top_k(ops.transpose(by_keypoint, (0, 2, 1)), most)
    by_keypoint = ops.reshape(shifts, (-1, height * width, number, 2))
    by_keypoint = ops.reshape(ops.transpose(by_keypoint, (0, 2, 1, 3)), (-1, height, width, 2))
    near = read_cells(by_keypoint, ops.reshape(cells, (-1, most))) * CELL
    places = ops.reshape(near, (-1, number, most, 2)) + middles(cells, width)
    x, y = (_within(places[..., axis], side) for axis, side in enumerate((width, height)))
    return x[:, None], y[:, None], ops.sigmoid(logits)[:, None]


def _read_each(points: Any, x: Any, y: Any) -> Any:
    """Returns the probability of each keypoint at its place, [B, N, K].

    Args:
        points: Logits.
        x: In pixels, [B, N, K].
        y: The same.
    """
    ops = keras.ops
    _, height, width, number = points.shape
    column, row = (
        ops.minimum(ops.cast(place / CELL, "int32"), side - 1)
        for place, side in ((x, width), (y, height))
    )
    flat = ops.reshape(points, (-1, height * width, number))
    return ops.sigmoid(ops.take_along_axis(flat, row * width + column, axis=1))


def _within(places: Any, cells: int) -> Any:
    """Returns places in pixels moved into the grid."""
    return keras.ops.clip(places, 0.0, float(CELL * cells))
