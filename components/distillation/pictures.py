"""The pictures of a lesson: images and mixes of two, before they are augmented.

A network that knows the training images by heart says little more of them than their labels do;
between them it tells what it has learned (Beyer et al., 2022, arXiv:2106.05237, section 3.2,
"function matching"). Shapes: N images, M pictures, B of a batch.
"""

import dataclasses

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import ImageSource

__all__ = ["MAX_VIEWS", "PictureImages", "Pictures", "list_pictures", "take_pictures"]

# Of an image, or of each time that it is listed. A student knew 8 of each of 7,200 images by heart
# after two plain trainings: ten gave no more.
MAX_VIEWS = 32


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What is seen, in the order of the teacher.

    Attributes:
        rows: Images, int32 [M].
        views: Which view of its image each is, int32 [M]; the augmentation is drawn from both.
        partners: Images that they are mixed with, int32 [M].
        shares: Of the image in its mix, float32 [M], in (0, 1]; 1 for the image as it is.
    """

    rows: np.ndarray
    views: np.ndarray
    partners: np.ndarray
    shares: np.ndarray

    def __len__(self) -> int:
        """Returns M."""
        return len(self.rows)

    def first(self, count: int) -> "Pictures":
        """Returns the first pictures."""
        return Pictures(*(each[:count] for each in vars(self).values()))

    def tobytes(self) -> bytes:
        """Returns the content, for digests."""
        return b"".join(each.tobytes() for each in vars(self).values())


def list_pictures(rows: np.ndarray, count: int, seed: int) -> Pictures:
    """Returns what may be seen: pass after pass over the images, each in another order.

    The first view is of the image alone. The others are mixed with any image, in shares that are
    uniform (MixUp: Zhang et al., 2018, arXiv:1710.09412, with alpha 1).

    Args:
        rows: Images that may be learned, int [N]; one that is listed more often is seen more often.
        count: M, at most; `MAX_VIEWS` passes over the list are the other limit.
        seed: Of the order in each pass over the images, and of the mixes.
    """
    generator = np.random.default_rng(seed)
    passes = -(-min(count, MAX_VIEWS * len(rows)) // len(rows))
    images = np.concatenate([generator.permutation(rows) for _ in range(passes)])
    views = _occurrences(images)
    partners = generator.choice(rows, len(images))
    shares = np.where(views == 0, 1.0, 1.0 - generator.random(len(images)))
    every = Pictures(
        images.astype(np.int32),
        views.astype(np.int32),
        partners.astype(np.int32),
        shares.astype(np.float32),
    )
    return every.first(count)


def _occurrences(values: np.ndarray) -> np.ndarray:
    """Returns how often each value has been there before, int [M]."""
    order = np.argsort(values, kind="stable")
    _, starts, counts = np.unique(values[order], return_index=True, return_counts=True)
    found = np.empty(len(values), int)
    found[order] = np.arange(len(values)) - np.repeat(starts, counts)
    return found


def take_pictures(source: ImageSource, pictures: Pictures, numbers: np.ndarray) -> np.ndarray:
    """Returns the pixels of some pictures, uint8 [*numbers.shape, H, W, C].

    Args:
        source: The images, in one size.
        pictures: Of them.
        numbers: In [0, M), of any shape.
    """
    images, shares = source.take(pictures.rows[numbers]), pictures.shares[numbers]
    mixed = shares < 1
    if mixed.any():
        others = source.take(pictures.partners[numbers][mixed]).astype(np.float32)
        own = shares[mixed][:, None, None, None]
        images[mixed] = np.rint(own * images[mixed] + (1 - own) * others).astype(np.uint8)
    return images


@dataclasses.dataclass(frozen=True)
class PictureImages(LabelledImages):
    """The pictures as images with targets, M of them.

    Attributes:
        pictures: Of the images of the source.
    """

    pictures: Pictures = dataclasses.field(kw_only=True)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """Returns images uint8 [*S, H, W, C]; S: shape of indices."""
        return take_pictures(self.source, self.pictures, indices)
