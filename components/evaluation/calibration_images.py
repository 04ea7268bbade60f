"""The training images on which int8 ranges are measured, handed on without the others."""

from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.components.shared.datasets.train_sample import sampled_rows
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["calibration_rows", "write_calibration_images"]

_NUM_IMAGES = 300


def calibration_rows(num_train: int) -> np.ndarray:
    """Returns rows of the training images at hand, int: always the same 300, or all there are."""
    rows = sampled_rows(num_train)
    return np.random.default_rng(0).choice(rows, min(len(rows), _NUM_IMAGES), False)


@explains_full_disk("output_dir")
@Progress("write the images that int8 is calibrated on")
def write_calibration_images(dataset_dir: Path, output_dir: Path) -> None:
    """Writes `train` with the images alone that the export draws."""
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = calibration_rows(open_split(dataset_dir, "train").num_rows)
    write_thin_split(dataset_dir, "train", rows, output_dir)
