"""Figures of masks: what share of the pixels is of each class, and of none that is known."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from kfp_vision.components.data_profiling.balance import imbalance_ratio
from kfp_vision.components.data_profiling.images import Images
from kfp_vision.components.shared.artifacts.data_profile import Figure, Histogram
from kfp_vision.components.shared.tasks.masks import IGNORED

__all__ = ["describe_masks"]

_BINS = 20


def describe_masks(
    images: Images, rows: np.ndarray, classes: Sequence[str]
) -> tuple[dict[str, Figure], dict[str, Histogram]]:
    """Returns figures and histograms of the masks of some training images.

    Args:
        images: Of a task with the column `mask`.
        rows: Which of them.
        classes: C names.
    """
    shares = np.stack([_shares(images, row) for row in rows])
    known = shares[:, : len(classes)]
    total = known.sum(axis=0) / known.sum()
    order = np.argsort(-total)
    areas = known[known > 0]
    counts, edges = np.histogram(areas, bins=_BINS, range=(0.0, 1.0))
    return {
        "pixel_shares": ", ".join(f"{classes[n]} {total[n]:.1%}" for n in order.tolist()),
        "pixel_imbalance_ratio": round(imbalance_ratio(total), 2),
        "pixels_unknown": f"{shares[:, IGNORED].mean():.1%}",
        "images_of_one_class": int(((known > 0).sum(axis=1) == 1).sum()),
    }, {
        "class_area": Histogram(edges.round(3).tolist(), counts.tolist(), "of the image"),
    }


def _shares(images: Images, row: int) -> np.ndarray:
    """Returns the share of the pixels of an image that has each value of a mask, [256]."""
    with Image.open(io.BytesIO(images.value(row, "mask"))) as mask:
        counts = np.bincount(np.asarray(mask).ravel(), minlength=IGNORED + 1)
    shares: np.ndarray = counts / counts.sum()
    return shares
