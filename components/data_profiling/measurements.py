"""What the rules of the findings look at, and what they return; N images, C classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from kfp_vision.components.data_profiling.objects import Objects

__all__ = ["EXAMPLES", "Level", "Measurements", "Observation"]

EXAMPLES = 8

Level = Literal["fail", "warn"]


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What the rules look at; N images, C classes.

    Attributes:
        classes: Class names.
        counts: Split -> int [C]; only splits that have images.
        origin: Split -> `given` by the source or `made` by the import.
        one_class: Whether every image is of exactly one class; else of any number.
        is_spatial: Whether what is learned lies in the image, as boxes and masks do.
        primary: The metric that decides.
        split: Split of each image, [N].
        exact, near: int64 [N], groups of equal pixels and of near duplicates.
        keys: uint64 [N], the label set of each image.
        signatures: uint8 [N, 64].
        rejected: Code -> number of files that import left out.
        rejected_paths: Some of these files.
        unlabeled_uri: Where images without labels were to come from; empty for none.
        objects: Those in the images; None for a task without.
        objects_clipped: Boxes that reached out of their image.
        objects_left_out: What was wrong -> number of objects that import left out of these images.
    """

    classes: Sequence[str]
    counts: Mapping[str, np.ndarray]
    origin: Mapping[str, str]
    one_class: bool
    is_spatial: bool
    primary: str
    split: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    keys: np.ndarray
    signatures: np.ndarray
    rejected: Mapping[str, int]
    rejected_paths: Sequence[str]
    unlabeled_uri: str = ""
    objects: Objects | None = None
    objects_clipped: int = 0
    objects_left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_train(self) -> int:
        """Number of training images."""
        return self.num_images("train")

    def num_images(self, split: str) -> int:
        """Returns the number of images of a split, 0 when there is none."""
        return int((self.split == split).sum())


@dataclasses.dataclass(frozen=True)
class Observation:
    """A finding before its examples have thumbnails; `rows` are images that show it."""

    level: Level
    message: str
    count: int
    rows: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    acceptable: bool = True
