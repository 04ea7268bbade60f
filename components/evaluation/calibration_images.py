"""The training images on which int8 ranges are measured, handed on without the others."""

from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.components.shared.datasets.train_sample import sampled_rows
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["calibration_rows", "write_calibration_images"]

_NUM_IMAGES = 300
# An image of 224 px takes a quarter of a second, with masks of objects half a second, and more than
# 50 of them change no range by much.
_NUM_PIXELS = 50 * 224**2


def calibration_rows(num_train: int, num_pixels: int = 1) -> np.ndarray:
    """Returns rows of the training images at hand, int: always the same 300, or all there are.

    Args:
        num_train: Training images.
        num_pixels: Of an image as the model takes it; of large ones there are fewer.
    """
    rows = sampled_rows(num_train)
    drawn = np.random.default_rng(0).choice(rows, min(len(rows), _NUM_IMAGES), False)
    return drawn[: max(1, _NUM_PIXELS // num_pixels)]


@explains_full_disk("output_dir")
@Progress("write the images that int8 is calibrated on")
def write_calibration_images(dataset_dir: Path, output_dir: Path) -> None:
    """Writes `train` with the images alone that the export draws."""
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = calibration_rows(open_split(dataset_dir, "train").num_rows)
    write_thin_split(dataset_dir, "train", rows, output_dir)
