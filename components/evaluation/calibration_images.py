"""The training images on which int8 ranges are measured, handed on without the others."""

from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.components.shared.runtime.disk import explains_full_disk

__all__ = ["NUM_CALIBRATION_IMAGES", "draw_calibration_rows", "write_calibration_images"]

NUM_CALIBRATION_IMAGES = 300


def draw_calibration_rows(num_train: int, count: int, seed: int) -> np.ndarray:
    """Returns rows of `train`, int, drawn without replacement: `count`, or all there are."""
    return np.random.default_rng(seed).choice(num_train, min(num_train, count), False)


@explains_full_disk("output_dir")
def write_calibration_images(dataset_dir: Path, output_dir: Path) -> None:
    """Writes `train` with the images alone that the export draws by default."""
    output_dir.mkdir(parents=True, exist_ok=True)
    num_train = open_split(dataset_dir, "train").num_rows
    rows = draw_calibration_rows(num_train, NUM_CALIBRATION_IMAGES, seed=0)
    write_thin_split(dataset_dir, "train", rows, output_dir)
