"""The objects of all images as columns, whatever the task has of them: boxes, masks, keypoints.

O objects one after the other, in the order of the images; N images.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from kfp_vision.components.data_profiling.images import Images
from kfp_vision.components.shared.datasets.store import list_arrays
from kfp_vision.components.shared.tasks import objects as columns

__all__ = ["Objects", "overlapping_pairs", "read_objects"]


@dataclasses.dataclass(frozen=True)
class Objects:
    """What is known of every object.

    Attributes:
        image: int64 [O], the row of its image.
        split: Name of the split of its image, [O].
        boxes: float32 [O, 4], in pixels.
        classes: int32 [O].
        crowd: bool [O].
        areas: float64 [O], pixels of the mask, of the box where the task has no masks.
        has_masks: Whether they are those of masks.
        keypoints: float32 [O, K, 3]; None for a task without.
    """

    image: np.ndarray
    split: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    has_masks: bool
    keypoints: np.ndarray | None

    @property
    def sides(self) -> np.ndarray:
        """Width and height of each box in pixels, float32 [O, 2]."""
        sides: np.ndarray = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides


def read_objects(images: Images) -> Objects | None:
    """Returns the objects of all images; None where the store has no boxes."""
    tables = {name: table for name, table in images.tables.items() if name != "unlabeled"}
    names = next(iter(tables.values())).column_names
    if columns.BOXES.name not in names:
        return None
    found = {name: columns.read_objects(table) for name, table in tables.items()}
    counts = [np.diff(each.starts) for each in found.values()]
    rows = np.concatenate([images.rows(name) for name in tables])
    boxes = np.concatenate([each.boxes for each in found.values()])
    has_masks, has_points = columns.SEGMENTS.name in names, columns.KEYPOINTS.name in names
    sides = boxes[:, 2:] - boxes[:, :2]
    points = None
    if has_points and len(boxes):
        flat = [list_arrays(table[columns.KEYPOINTS.name])[0] for table in tables.values()]
        points = np.concatenate(flat).reshape(len(boxes), -1, 3)
    return Objects(
        image=np.repeat(rows, np.concatenate(counts)),
        split=np.repeat(list(tables), [count.sum() for count in counts]),
        boxes=boxes,
        classes=np.concatenate([each.classes for each in found.values()]),
        crowd=np.concatenate([each.crowd for each in found.values()]),
        areas=(
            np.array([area for table in tables.values() for area in _mask_areas(table)], np.float64)
            if has_masks
            else sides.prod(axis=1, dtype=np.float64)
        ),
        has_masks=has_masks,
        keypoints=points,
    )


def _mask_areas(table: pa.Table) -> Iterator[float]:
    """Yields the pixels of every mask of a split."""
    names = (columns.SEGMENTS.name, "height", "width")
    for batch in table.select(names).to_batches():
        for row in batch.to_pylist():
            size = [row["height"], row["width"]]
            codes = [{"size": size, "counts": counts} for counts in row[names[0]]]
            yield from map(float, coco_mask.area(codes) if codes else ())


def overlapping_pairs(objects: Objects, least: float) -> np.ndarray:
    """Returns the pairs of objects of one image whose boxes overlap, int64 [P, 2].

    Args:
        objects: Crowds among them are left out.
        least: Intersection over union of the boxes.
    """
    if not len(objects.image):
        return np.empty((0, 2), np.int64)
    starts = np.flatnonzero(np.diff(objects.image, prepend=-1))
    pairs = [np.empty((0, 2), np.int64)]
    for start, end in zip(starts, [*starts[1:], len(objects.image)], strict=True):
        members = start + np.flatnonzero(~objects.crowd[start:end])
        if len(members) < 2:
            continue
        boxes = objects.boxes[members].astype(np.float64)
        left_top = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        right_bottom = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = np.prod(np.maximum(right_bottom - left_top, 0.0), axis=-1)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
        first, second = np.nonzero(
            np.triu(shared >= least * (areas[:, None] + areas[None, :] - shared), 1)
        )
        pairs.append(np.stack([members[first], members[second]], axis=1))
    return np.concatenate(pairs)
