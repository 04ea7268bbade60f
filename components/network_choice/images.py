"""Which images the candidates learn from and which they are judged by."""

import dataclasses
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.store import class_strata, open_split
from kfp_vision.components.shared.search.held_out import Rows, stratified_order

__all__ = ["MIN_IMAGES", "MIN_VALIDATION", "Division", "divide_images"]

# Fewer cannot tell any two networks apart.
MIN_IMAGES = 40
# With fewer validation images, training images are held out beside them: so many or this share.
MIN_VALIDATION, _HELD_OUT_SHARE = 100, 0.3
# More images do not change a choice, and looking at them takes time.
_MAX_HELD_OUT, _MAX_HELD_OUT_PIXELS = 1000, 2e7


@dataclasses.dataclass(frozen=True)
class Division:
    """Two parts without a common image.

    Attributes:
        known: Rows of the training images that are learned, in an order of which every beginning
            holds the classes in their shares.
        held_out: Rows of validation and of training images that judge.
    """

    known: np.ndarray
    held_out: Rows


def divide_images(dataset_dir: Path, info: DatasetInfo, largest_pixels: int) -> Division:
    """Returns the two parts; the test images are in neither.

    Args:
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
        largest_pixels: Pixels of an image at the largest size that is compared.
    """
    train, validation = (
        stratified_order(class_strata(open_split(dataset_dir, split)))
        for split in ("train", "validation")
    )
    most = max(MIN_VALIDATION, min(_MAX_HELD_OUT, int(_MAX_HELD_OUT_PIXELS / largest_pixels)))
    num_train = 0
    if len(validation) < MIN_VALIDATION:
        wanted = round(_HELD_OUT_SHARE * (len(train) + len(validation)))
        num_train = max(0, min(most, wanted) - len(validation))
    return Division(
        known=train[num_train:],
        held_out=(np.sort(validation[:most]), np.sort(train[:num_train])),
    )
