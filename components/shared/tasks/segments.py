"""Masks of objects in the run-length code of COCO: which pixels are theirs, and code from pixels.

The code counts pixels column by column, runs of 0 and 1 in turn; 32 of the 64 values of a byte say
that a number goes on. Masks of whole images are never decoded: an object costs what its runs do.

Shapes: N images, S the shape of the rows of a batch, M objects of an image at most, L bytes.
"""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.heads.mask_window import window_points
from kfp_vision.components.shared.tasks.objects import SEGMENTS, Objects

__all__ = [
    "UNKNOWN",
    "Segments",
    "codes_of",
    "encode_window",
    "paste_masks",
    "read_segments",
    "run_lengths",
]

# In a map of objects: a pixel of a crowd, or one that nothing is known of.
UNKNOWN = -1
# Of a length, 5 bits each.
_MOST_DIGITS = 7
# A point is of its object from here on.
_INSIDE = 0.5


@dataclasses.dataclass(frozen=True)
class Segments:
    """The masks of the objects of N images.

    Attributes:
        objects: The same objects: their boxes and so on.
        codes: Column of the store, a list of codes an image.
        most_bytes: L, of the codes of one image together, at least 1.
    """

    objects: Objects
    codes: pa.ChunkedArray
    most_bytes: int

    def batch(self, rows: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """Returns the masks of some images as arrays of one shape.

        `codes` uint8 [*S, L] holds those of an image one after the other, `code_bytes` int32
        [*S, M] how long each is; `instances` int16 [*S, H, W] says for every pixel whose it is: n
        of object n - 1, 0 of none, `UNKNOWN` of a crowd. Smaller objects cover larger ones.

        Args:
            rows: Of the images, int [*S].
            size: (height, width) to which the images are stretched; the nearest pixel counts.
        """
        flat = rows.ravel()
        codes = np.zeros((len(flat), self.most_bytes), np.uint8)
        sizes = np.zeros((len(flat), self.objects.most), np.int32)
        instances = np.zeros((len(flat), *size), np.int16)
        for place, row in enumerate(flat.tolist()):
            held = self.codes[row].as_py()
            joined = np.frombuffer(b"".join(held), np.uint8)
            codes[place, : len(joined)] = joined
            sizes[place, : len(held)] = [len(each) for each in held]
            part = slice(self.objects.starts[row], self.objects.starts[row + 1])
            _draw(
                instances[place],
                [run_lengths(each) for each in held],
                self.objects.crowd[part],
                self.objects.boxes[part],
                self.objects.sizes[row],
            )
        made: dict[str, np.ndarray] = {"codes": codes, "code_bytes": sizes, "instances": instances}
        return {name: each.reshape(*rows.shape, *each.shape[1:]) for name, each in made.items()}


def read_segments(table: pa.Table, objects: Objects) -> Segments:
    """Returns the masks of all rows of a split.

    Args:
        table: Rows of the store.
        objects: Of the same table.
    """
    codes = table[SEGMENTS.name]
    most = max((_most_bytes(chunk) for chunk in codes.chunks), default=0)
    return Segments(objects, codes, max(1, most))


def _most_bytes(codes: pa.ListArray) -> int:
    """Returns the bytes of all codes of the image that has the most."""
    lengths = pc.binary_length(codes.flatten()).to_numpy(zero_copy_only=False)
    images = np.repeat(np.arange(len(codes)), pc.list_value_length(codes).fill_null(0))
    return int(np.bincount(images, weights=lengths, minlength=1).max())


def codes_of(codes: np.ndarray, sizes: np.ndarray, image: np.ndarray) -> list[dict[str, Any]]:
    """Returns the masks of one image as pycocotools takes them, one for each of M places.

    Args:
        codes: [L], as of `Segments.batch`.
        sizes: [M]; 0 where there is no object: an empty mask.
        image: (height, width) of the image as it is stored.
    """
    size = [int(side) for side in image]
    ends = np.cumsum(sizes)
    empty = encode_window(np.zeros((0, 0), bool), 0, 0, *size)
    return [
        {"size": size, "counts": codes[end - length : end].tobytes()} if length else empty
        for end, length in zip(ends, sizes, strict=True)
    ]


def run_lengths(counts: bytes) -> np.ndarray:
    """Returns the lengths of the runs of a code, int64 [R].

    Raises:
        ValueError: It has another character, ends within a number, or a length fits no image.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(digits):
        return digits
    goes_on = (digits & 32) > 0
    first = np.flatnonzero(np.concatenate([[True], ~goes_on[:-1]]))
    place = np.arange(len(digits)) - np.repeat(first, np.diff([*first, len(digits)]))
    if digits.min() < 0 or digits.max() > 63 or goes_on[-1] or place.max() >= _MOST_DIGITS:
        raise ValueError(
            "A run-length code must hold whole numbers, in the characters 0 to o. Received: "
            f"{counts[:40]!r}"
        )
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    last = np.flatnonzero(~goes_on)
    values -= np.where(digits[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    # From the fourth on they are differences to the length before the last.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError(f"A run must not be negative. Received: {counts[:40]!r}")
    return values


def _draw(
    instances: np.ndarray,
    runs: list[np.ndarray],
    crowd: np.ndarray,
    boxes: np.ndarray,
    image: np.ndarray,
) -> None:
    """Writes the objects of an image into its map [H, W], the largest first."""
    # Each pixel of the map is the one of the image in which its middle lies.
    rows, columns = (
        ((np.arange(length) + 0.5) * side / length).astype(np.int64)
        for length, side in zip(instances.shape, image, strict=True)
    )
    areas = [int(each[1::2].sum()) for each in runs]
    for place in sorted(range(len(runs)), key=lambda each: -areas[each]):
        left, top, right, bottom = boxes[place]
        x0, x1 = np.searchsorted(columns, [np.floor(left), np.ceil(right)])
        y0, y1 = np.searchsorted(rows, [np.floor(top), np.ceil(bottom)])
        pixels = columns[None, x0:x1] * image[0] + rows[y0:y1, None]
        # A pixel lies in the run that ends beyond it; every second one is of the object.
        inside = np.searchsorted(np.cumsum(runs[place]), pixels, side="right") % 2 == 1
        part = instances[y0:y1, x0:x1]
        part[inside] = UNKNOWN if crowd[place] else place + 1


def encode_window(mask: np.ndarray, top: int, left: int, height: int, width: int) -> dict[str, Any]:
    """Returns the code of a mask that is empty outside of a window.

    Args:
        mask: Of the window, bool [h, w]; it lies within the image.
        top: Row of its first pixel.
        left: Column of its first pixel.
        height: Of the image.
        width: The same.
    """
    # Where runs begin and end; where one column ends and the next begins, a run goes on.
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = mask.T
    changes = np.diff(padded, axis=1)
    column, row = np.nonzero(changes)
    places, times = np.unique((column + left) * height + row + top, return_counts=True)
    counts = np.diff(
        places[(times == 1) & (places < height * width)], prepend=0, append=height * width
    )
    code: dict[str, Any] = coco_mask.frPyObjects(
        {"size": [height, width], "counts": counts.tolist()}, height, width
    )
    return code


def paste_masks(
    boxes: np.ndarray, masks: np.ndarray, shown: np.ndarray, image: np.ndarray
) -> list[dict[str, Any]]:
    """Returns the codes of masks that a model has found in an image.

    Args:
        boxes: [N, 4], pixels of the input.
        masks: [N, S, S], of the windows of the boxes.
        shown: (height, width) of the input.
        image: (height, width) of the image as it is stored.
    """
    height, width = (int(side) for side in image)
    scale = np.tile(np.array([width, height]) / shown[[1, 0]], 2)
    x, y = window_points(boxes * scale, masks.shape[-1])
    codes = []
    for mask, columns, rows in zip(masks, x, y, strict=True):
        left, across = _between(columns, width)
        top, down = _between(rows, height)
        codes.append(encode_window(down @ mask @ across.T >= _INSIDE, top, left, height, width))
    return codes


def _between(places: np.ndarray, length: int) -> tuple[int, np.ndarray]:
    """Returns the first pixel of a window, and the shares [P, S] of points in each of its pixels.

    Args:
        places: Of the points, evenly spaced, [S], pixels.
        length: Of the image, pixels.
    """
    step = places[1] - places[0]
    first = int(np.clip(np.floor(places[0] - step / 2), 0, length))
    last = int(np.clip(np.ceil(places[-1] + step / 2), 0, length))
    points = (np.arange(first, last) + 0.5 - places[0]) / step
    apart = np.abs(np.clip(points, 0, len(places) - 1)[:, None] - np.arange(len(places)))
    return first, np.maximum(1.0 - apart, 0.0)
