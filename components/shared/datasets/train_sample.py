"""The training images that the stages after the training read; the others need not travel."""

from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["SAMPLE_IMAGES", "sampled_rows", "write_train_sample"]

# More than a baseline is fitted on, or int8 ranges are measured on.
SAMPLE_IMAGES = 30_000


def sampled_rows(num_train: int) -> np.ndarray:
    """Returns rows of `train`, int, sorted, always the same: `SAMPLE_IMAGES`, or all there are."""
    count = min(num_train, SAMPLE_IMAGES)
    return np.sort(np.random.default_rng(0).choice(num_train, count, replace=False))


@explains_full_disk("output_dir")
@Progress("write the training images that baselines see")
def write_train_sample(dataset_dir: Path, output_dir: Path) -> None:
    """Writes `train` with the images of `sampled_rows` alone, and all else of every row."""
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = sampled_rows(open_split(dataset_dir, "train").num_rows)
    write_thin_split(dataset_dir, "train", rows, output_dir)
