"""Figures and histograms of objects in images: how many, how large, of what shape and class.

Of training images alone, like the other figures that choices are made by.
"""

import math

import numpy as np

from kfp_vision.components.data_profiling.balance import imbalance_ratio
from kfp_vision.components.data_profiling.images import Images
from kfp_vision.components.data_profiling.objects import Objects
from kfp_vision.components.shared.artifacts.data_profile import Figure, Histogram
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo

__all__ = ["count_objects", "describe_objects", "size_shares"]

# Areas in pixels, below which an object of COCO is small, and medium.
_SMALL, _MEDIUM = 32**2, 96**2
_BINS = 20


def count_objects(objects: Objects, info: DatasetInfo) -> dict[str, dict[str, int]]:
    """Returns split -> class -> number of objects, crowds aside."""
    counts = {
        split: np.bincount(
            objects.classes[(objects.split == split) & ~objects.crowd], minlength=len(info.classes)
        )
        for split in info.splits
        if split != "unlabeled"
    }
    return {
        split: dict(zip(info.classes, each.tolist(), strict=True)) for split, each in counts.items()
    }


def size_shares(areas: np.ndarray) -> dict[str, float]:
    """Returns the shares of small, medium and large objects, as COCO divides them.

    Reference: Lin et al., 2014, arXiv:1405.0312, and the areas of its evaluation: below 32 x 32
    pixels, below 96 x 96, and the others.
    """
    place = np.digitize(areas, [_SMALL, _MEDIUM])
    shares = np.bincount(place, minlength=3) / max(len(areas), 1)
    return dict(zip(("small", "medium", "large"), shares.tolist(), strict=True))


def describe_objects(
    images: Images, objects: Objects, info: DatasetInfo
) -> tuple[dict[str, Figure], dict[str, Histogram], list[str]]:
    """Returns figures, histograms and sentences on the objects of the training images.

    Args:
        images: Of all splits.
        objects: Of all splits.
        info: Of the dataset.
    """
    train = images.rows("train")
    chosen = (objects.split == "train") & ~objects.crowd
    counts = np.bincount(objects.image[chosen], minlength=len(images))[train]
    figures: dict[str, Figure] = {
        "train_objects": int(chosen.sum()),
        "train_crowds": int(((objects.split == "train") & objects.crowd).sum()),
        "objects_per_image": _span(counts),
        "images_without_objects": int((counts == 0).sum()),
    }
    if not chosen.any():
        return figures, {}, ["No training image has an object."]
    sides, areas = objects.sides[chosen], objects.areas[chosen]
    rows = objects.image[chosen]
    pixels = images.heights[rows].astype(np.float64) * images.widths[rows]
    ratios = sides[:, 0] / sides[:, 1]
    shares = size_shares(areas)
    classes = np.bincount(objects.classes[chosen], minlength=len(info.classes))
    shown = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
    figures |= {
        "object_sizes": shown,
        "object_side_px": _span(np.sqrt(areas)),
        "object_share_of_image": _span(areas / pixels),
        "aspect_ratio": _span(ratios),
        "object_imbalance_ratio": round(imbalance_ratio(classes), 2),
    }
    histograms = {
        "objects_per_image": _histogram(counts, "objects"),
        "object_side": _histogram(np.sqrt(areas), "px"),
        "aspect_ratio": _histogram(ratios, "width / height"),
    }
    sentences = [
        f"An image holds {counts.mean():.1f} objects on average; of all, {shown} by the areas of "
        f"COCO, {'masks' if objects.has_masks else 'boxes'} at the size of the file."
    ]
    if objects.has_masks:
        figures["mask_share_of_box"] = _span(areas / sides.prod(axis=1, dtype=np.float64))
        histograms["mask_area"] = _histogram(areas, "px")
    if objects.keypoints is not None:
        figures["keypoints_labelled"] = _visibility(objects.keypoints[chosen], info.keypoint_names)
    return figures, histograms, sentences


def _visibility(keypoints: np.ndarray, names: list[str]) -> str:
    """Returns how often each keypoint is labelled, and hidden, from [O, K, 3]."""
    labelled, hidden = (keypoints[..., 2] > 0).mean(axis=0), (keypoints[..., 2] == 1).mean(axis=0)
    return ", ".join(
        f"{name} {share:.0%}" + (f" ({hides:.0%} hidden)" if hides else "")
        for name, share, hides in zip(names, labelled.tolist(), hidden.tolist(), strict=True)
    )


def _span(values: np.ndarray) -> str:
    low, middle, high = (float(each) for each in np.percentile(values, [0, 50, 100]))
    return f"{low:.3g} to {high:.3g}, median {middle:.3g}"


def _histogram(values: np.ndarray, unit: str) -> Histogram:
    """Returns a histogram whose highest bin holds what is beyond the 99th percentile.

    Of whole numbers every bin holds as many: else some stay empty where nothing is missing.
    """
    low, top = float(values.min()), float(np.percentile(values, 99))
    bins: int | np.ndarray = _BINS
    if np.issubdtype(values.dtype, np.integer):
        top = math.floor(top)
        step = math.ceil((top - low + 1) / _BINS)
        bins = np.arange(low, top + step + 1, step)
    counts, edges = np.histogram(np.minimum(values, max(top, low + 1e-6)), bins=bins)
    return Histogram([round(edge, 3) for edge in edges.tolist()], counts.tolist(), unit)
