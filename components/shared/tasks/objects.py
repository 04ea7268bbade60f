"""What is in images: the columns of the store that describe it, and objects as arrays for a batch.

Shapes: N images, O objects of all of them one after the other, M of one image at most, S the shape
of the rows of a batch. Boxes are (left, top, right, bottom) in pixels, of which i covers i to
i + 1.
"""

import dataclasses
import math

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.datasets.store import list_arrays

__all__ = [
    "BOXES",
    "BOX_CLASSES",
    "COLUMNS",
    "CROWD",
    "KEYPOINTS",
    "MASK",
    "NO_CLASS",
    "SEGMENTS",
    "Objects",
    "pad",
    "read_keypoints",
    "read_objects",
]

# Columns of the store, in pixels of the image as it is stored. All lists of a row have the same
# objects in the same order, none for an image of background.
BOXES = pa.field("boxes", pa.list_(pa.float32()))  # four an object
BOX_CLASSES = pa.field("box_classes", pa.list_(pa.int32()))
# Whether it stands for several objects that nobody has told apart (`iscrowd` of COCO).
CROWD = pa.field("crowd", pa.list_(pa.bool_()))
# `counts` of a compressed run-length code of COCO, of a mask as large as the image.
SEGMENTS = pa.field("segments", pa.list_(pa.binary()))
# 3 K an object: x, y and 0 not labelled, 1 labelled and hidden, 2 labelled and visible.
KEYPOINTS = pa.field("keypoints", pa.list_(pa.float32()))
# A class for every pixel: an 8-bit gray PNG of their numbers, 255 where nothing is known.
MASK = pa.field("mask", pa.binary())
COLUMNS = {each.name: each for each in (BOXES, BOX_CLASSES, CROWD, SEGMENTS, KEYPOINTS, MASK)}
# Class of a place that no object takes.
NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of N images.

    Attributes:
        starts: int64 [N + 1]; image n has the objects from `starts[n]` to `starts[n + 1]`.
        boxes: float32 [O, 4].
        classes: int32 [O].
        crowd: bool [O].
        sizes: int64 [N, 2], (height, width) of each image as it is stored.
    """

    starts: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    sizes: np.ndarray

    @property
    def usual_side(self) -> float:
        """Returns the median over the objects of the square root of their share of the image."""
        images = np.repeat(self.sizes.prod(axis=1), np.diff(self.starts))
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)
        shares = (areas / images)[~self.crowd]
        return math.sqrt(np.median(shares)) if len(shares) else 1.0

    @property
    def most(self) -> int:
        """Returns M, at least 1."""
        return max(1, int(np.diff(self.starts).max(initial=0)))

    def batch(self, rows: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """Returns the objects of some images as arrays of one shape.

        `boxes` are float32 [*S, M, 4] in pixels of images of `size`, `box_classes` int32 [*S, M],
        `NO_CLASS` where there is none, `crowd` bool [*S, M], `image_size` float32 [*S, 2].

        Args:
            rows: Of the images, int [*S].
            size: (height, width) to which the images are stretched.
        """
        sizes = self.sizes[rows].astype(np.float32)
        scales = (np.array(size, np.float32) / sizes)[..., None, [1, 0, 1, 0]]
        return {
            "boxes": pad(self.boxes, self.starts, rows, self.most, 0.0) * scales,
            "box_classes": pad(self.classes, self.starts, rows, self.most, NO_CLASS),
            "crowd": pad(self.crowd, self.starts, rows, self.most, False),
            "image_size": sizes,
        }


def read_objects(table: pa.Table) -> Objects:
    """Returns the objects of all rows of a split.

    Raises:
        ValueError: The lists of a row are not of the same objects.
    """
    boxes, box_starts = list_arrays(table[BOXES.name])
    classes, starts = list_arrays(table[BOX_CLASSES.name])
    crowd, crowd_starts = list_arrays(table[CROWD.name])
    wrong = np.flatnonzero((box_starts != 4 * starts) | (crowd_starts != starts))
    if len(wrong):
        row = int(wrong[0]) - 1
        counts = [
            int(np.diff(each[row : row + 2])[0]) for each in (box_starts, crowd_starts, starts)
        ]
        raise ValueError(
            "An image must have four numbers in `boxes` and one in `crowd` for each of its "
            f"`box_classes`. Received: {counts[0]}, {counts[1]} and {counts[2]} of row {row}"
        )
    sizes = np.stack([table[side].to_numpy() for side in ("height", "width")], -1)
    return Objects(starts, boxes.reshape(-1, 4), classes, crowd, sizes.astype(np.int64))


def read_keypoints(table: pa.Table, objects: Objects, number: int) -> np.ndarray:
    """Returns the keypoints of all objects of a split, float32 [O, K, 3].

    Args:
        table: Rows of the split.
        objects: Of the same rows.
        number: K.

    Raises:
        ValueError: An image has another number of them.
    """
    values, starts = list_arrays(table[KEYPOINTS.name])
    wrong = np.flatnonzero(starts != 3 * number * objects.starts)
    if len(wrong):
        row = int(wrong[0]) - 1
        counts = [int(np.diff(each[row : row + 2])[0]) for each in (starts, objects.starts)]
        raise ValueError(
            f"`keypoints` of an image must have {3 * number} numbers for each of its objects. "
            f"Received: {counts[0]} of {counts[1]} objects in row {row}"
        )
    return values.reshape(-1, number, 3)


def pad(
    values: np.ndarray, starts: np.ndarray, rows: np.ndarray, most: int, fill: float
) -> np.ndarray:
    """Returns what the objects of some images have, [*S, M, ...].

    Args:
        values: Of all objects, [O, ...].
        starts: As of `Objects`.
        rows: Of the images, int [*S].
        most: M; objects beyond are left out.
        fill: Where an image has fewer objects.
    """
    first, places = starts[rows][..., None], np.arange(most)
    is_object = places < starts[rows + 1][..., None] - first
    padded = np.full((*is_object.shape, *values.shape[1:]), fill, values.dtype)
    padded[is_object] = values[(first + places)[is_object]]
    return padded
