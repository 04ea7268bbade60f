"""Labels, boxes, masks and keypoints that follow their augmented image.

Shapes: matrices [B, 3, 3] as in geometry.py; boxes float32 [B, N, 4] as (left, top, right, bottom)
and keypoints [B, N, 2] as (x, y), in pixels from the upper left corner of the image, where pixel i
covers i to i + 1; visible bool [B, N]; masks int32 [B, H, W].
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.geometry import matrices, sample_points
from kfp_vision.components.shared.augmentation.mixing import inside, join_quarters, quarters
from kfp_vision.components.shared.augmentation.transforms import parameters

__all__ = [
    "cut_boxes",
    "cut_keypoints",
    "cut_masks",
    "mix_labels",
    "mosaic_boxes",
    "mosaic_keypoints",
    "mosaic_masks",
    "moves",
    "warp_boxes",
    "warp_keypoints",
    "warp_masks",
]

_TINY = 1e-6


def mix_labels(
    targets: Mapping[str, tf.Tensor], augmented: Augmented
) -> list[tuple[tf.Tensor, Mapping[str, tf.Tensor]]]:
    """Returns targets of whole images and those of their partners, each with its share [B]."""
    partners = augmented.mixing.partners
    others = {name: tf.gather(value, partners) for name, value in targets.items()}
    return [(augmented.shares, targets), (1.0 - augmented.shares, others)]


def moves(augmented: Augmented) -> tf.Tensor:
    """Returns the matrices [B, 3, 3] by which the pixels of each image were moved."""
    drawn = augmented.drawn
    height, width = augmented.images.shape[1:3]
    return matrices(parameters(drawn.magnitudes, drawn.signs), height, width)


def _move(points: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns points [B, N, 2] moved; the matrix counts from the centre of the first pixel."""
    centred = points - 0.5
    moved = tf.reduce_sum(matrix[:, None, :2, :2] * centred[:, :, None, :], -1)
    return moved + matrix[:, None, :2, 2] + 0.5


def _areas(boxes: tf.Tensor) -> tf.Tensor:
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def warp_boxes(
    boxes: tf.Tensor, matrix: tf.Tensor, height: int, width: int, least_visible: float = 0.25
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the upright boxes around the moved corners, clipped to the image, and which remain.

    Args:
        boxes: The boxes of the source.
        matrix: What its pixels were moved by.
        height: Image height, pixels.
        width: Image width, pixels.
        least_visible: A box of which less than this share of the area is in the image is gone.
    """
    corners = [tf.stack([boxes[..., x], boxes[..., y]], -1) for x in (0, 2) for y in (1, 3)]
    moved = tf.stack([_move(corner, matrix) for corner in corners], 2)
    whole = tf.concat([tf.reduce_min(moved, 2), tf.reduce_max(moved, 2)], -1)
    size = tf.constant([width, height, width, height], tf.float32)
    clipped = tf.clip_by_value(whole, 0.0, size)
    visible = _areas(clipped) >= least_visible * tf.maximum(_areas(whole), _TINY)
    return clipped, visible & (_areas(clipped) > 0.0)


def warp_masks(masks: tf.Tensor, matrix: tf.Tensor, ignored: int) -> tf.Tensor:
    """Returns the masks resampled to the nearest pixel, `ignored` where the source has none."""
    batch, height, width = masks.shape
    x, y = (tf.cast(tf.round(place), tf.int32) for place in sample_points(matrix, height, width))
    known = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    first = tf.range(batch)[:, None, None] * (height * width)
    places = tf.where(known, first + y * width + x, 0)
    return tf.where(known, tf.gather(tf.reshape(masks, [-1]), places), ignored)


def warp_keypoints(
    keypoints: tf.Tensor,
    labelled: tf.Tensor,
    matrix: tf.Tensor,
    height: int,
    width: int,
    swaps: Sequence[int] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the moved keypoints and which of them are labelled and in the image.

    Args:
        keypoints: Those of the source.
        labelled: Which of them are known, bool [B, N].
        matrix: What its pixels were moved by.
        height: Image height, pixels.
        width: Image width, pixels.
        swaps: For each keypoint the one it becomes in a mirrored image (left eye, right eye), or
            None when there are no sides.
    """
    moved = _move(keypoints, matrix)
    if swaps is not None:
        # A matrix that mirrors has a negative determinant, turned or not.
        turned = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0] < 0.0
        moved = tf.where(turned[:, None, None], tf.gather(moved, list(swaps), axis=1), moved)
        labelled = tf.where(turned[:, None], tf.gather(labelled, list(swaps), axis=1), labelled)
    size = tf.constant([width, height], tf.float32)
    return moved, labelled & tf.reduce_all((moved >= 0.0) & (moved < size), -1)


def cut_masks(masks: tf.Tensor, partners: tf.Tensor, cut: tf.Tensor) -> tf.Tensor:
    """Returns the masks of images after CutMix with the boxes `cut` int32 [B, 4]."""
    pasted = inside(cut, *masks.shape[1:])[..., 0]
    return tf.where(pasted, tf.gather(masks, partners), masks)


def cut_boxes(
    boxes: tf.Tensor,
    visible: tf.Tensor,
    partners: tf.Tensor,
    cut: tf.Tensor,
    least_visible: float = 0.25,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the boxes [B, 2 N, 4] after CutMix, own before the partner's, and which remain.

    A box of the partner is clipped to the cut. An own box of which the cut leaves less than
    `least_visible` is gone; the others stay as they are, partly covered.

    Args:
        boxes: Before mixing.
        visible: Those that are there.
        partners: int32 [B], whom each image was mixed with.
        cut: int32 [B, 4], the part that was pasted, as `Mix.boxes`.
        least_visible: Share of the area.
    """
    window = tf.cast(cut, tf.float32)[:, None]

    def clipped(given: tf.Tensor) -> tf.Tensor:
        low = tf.maximum(given[..., :2], window[..., :2])
        return tf.concat([low, tf.maximum(low, tf.minimum(given[..., 2:], window[..., 2:]))], -1)

    areas = tf.maximum(_areas(boxes), _TINY)
    own = visible & (1.0 - _areas(clipped(boxes)) / areas >= least_visible)
    theirs = tf.gather(boxes, partners)
    pasted = clipped(theirs)
    shares = _areas(pasted) / tf.gather(areas, partners)
    shown = tf.gather(visible, partners) & (shares >= least_visible) & (shares > 0.0)
    return tf.concat([boxes, pasted], 1), tf.concat([own, shown], 1)


def cut_keypoints(
    keypoints: tf.Tensor, labelled: tf.Tensor, partners: tf.Tensor, cut: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the keypoints [B, 2 N, 2] after CutMix, own before the partner's, and which are left.

    Args:
        keypoints: Before mixing.
        labelled: Those that are known and in the image, bool [B, N].
        partners: As of `cut_boxes`.
        cut: The same.
    """
    window = tf.cast(cut, tf.float32)[:, None]

    def in_cut(given: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all((given >= window[..., :2]) & (given < window[..., 2:]), -1)

    theirs = tf.gather(keypoints, partners)
    shown = tf.gather(labelled, partners) & in_cut(theirs)
    both = tf.concat([keypoints, theirs], 1)
    return both, tf.concat([labelled & ~in_cut(keypoints), shown], 1)


def mosaic_masks(masks: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
    """Returns the masks of mosaics, of every other pixel; partners as of `cut_boxes`."""
    height, width = masks.shape[1:3]
    return join_quarters(quarters(masks[:, ::2, ::2], partners), height, width)


def mosaic_keypoints(points: tf.Tensor, partners: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns where the keypoints of all quarters are in mosaics, [B, 4 N, 2].

    Args:
        points: Before mixing.
        partners: As of `cut_boxes`.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    across, down = (width + 1) // 2, (height + 1) // 2
    corners = ([0, 0], [across, 0], [0, down], [across, down])
    four = quarters(points / 2.0, partners)
    moved = [each + tf.constant(at, tf.float32) for each, at in zip(four, corners, strict=True)]
    return tf.concat(moved, 1)


def mosaic_boxes(boxes: tf.Tensor, partners: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the boxes [B, 4 N, 4] of all quarters in mosaics.

    Of an image with an odd side the last half pixel is not in its quarter: boxes end there.

    Args:
        boxes: Before mixing.
        partners: As of `cut_boxes`.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    low, high = (
        mosaic_keypoints(corner, partners, height, width) for corner in tf.split(boxes, 2, -1)
    )
    size = tf.constant([width, height], tf.float32)
    return tf.concat([low, tf.minimum(high, size)], -1)
