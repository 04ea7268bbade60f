"""The figures and histograms of a profile, from the columns and from a sample of the pixels."""

import numpy as np

from kfp_vision.components.data_profiling.balance import (
    effective_number,
    entropy_bits,
    imbalance_ratio,
    presence_entropy_bits,
)
from kfp_vision.components.data_profiling.duplicates import copies, within
from kfp_vision.components.data_profiling.entropy import (
    GrayStatistics,
    compressed_bits,
    thumbnail_label_bits,
)
from kfp_vision.components.data_profiling.images import Images
from kfp_vision.components.data_profiling.measurements import Measurements
from kfp_vision.components.shared.artifacts.data_profile import Figure, Histogram
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["count_figures", "pixel_figures", "size_histograms"]

# A larger image is measured on its middle: its statistics do not need every pixel.
_MAX_SIDE = 128
_MAX_LABELS_FITTED = 10_000


def count_figures(
    images: Images, measured: Measurements, beta: float, seed: int
) -> tuple[dict[str, Figure], list[str]]:
    """Returns figures about sizes, balance and copies, and what they say in sentences."""
    train = images.rows("train")
    counts = measured.counts["train"]
    groups = [within(group, images.split == "train") for group in (measured.exact, measured.near)]
    exact_copies, near_copies = (len(copies(group)) for group in groups)
    figures: dict[str, Figure] = {
        "images": len(images),
        "classes": len(measured.classes),
        "height": _span(images.heights),
        "width": _span(images.widths),
        "channels": _span(images.channels),
        "train_exact_copies": exact_copies,
        "train_distinct_images": len(train) - max(exact_copies, near_copies),
        "imbalance_ratio": round(imbalance_ratio(counts), 2),
        "effective_number_of_samples": round(float(effective_number(counts, beta).sum()), 1),
    }
    if measured.is_spatial:
        figures["classes_per_image"] = round(counts.sum() / max(len(train), 1), 3)
        return figures, []
    if measured.one_class:
        bits = entropy_bits(counts)
        figures["label_entropy_max_bits"] = round(float(np.log2(len(counts))), 3)
    else:
        bits = presence_entropy_bits(counts, len(train))
        figures["labels_per_image"] = round(counts.sum() / max(len(train), 1), 3)
    figures["label_entropy_bits"] = round(bits, 3)
    figures["all_labels_kbit"] = round(bits * len(train) / 1000, 1)
    sentences = [
        f"The label of an image tells {'' if measured.one_class else 'at most '}{bits:.2f} bits: "
        f"{bits * len(train) / 1000:,.1f} kbit for all {len(train):,} training images, which is "
        "all that supervision can teach."
    ]
    if measured.one_class:
        chosen = np.random.default_rng(seed).permutation(train)[:_MAX_LABELS_FITTED]
        labels = images.label_values[images.label_starts[chosen]]
        if (np.unique(labels, return_counts=True)[1] >= 8).sum() > 1:
            told = thumbnail_label_bits(images.signatures[chosen], labels, seed)
            figures["thumbnail_label_bits"] = round(told, 3)
            sentences.append(
                f"An 8x8 gray thumbnail and a linear classifier already tell {told:.2f} of them; "
                "the rest is in detail, colour, texture and shape."
            )
    return figures, sentences


def pixel_figures(
    images: Images, rows: np.ndarray, progress: Progress
) -> tuple[dict[str, Figure], dict[str, Histogram], list[str]]:
    """Returns figures, the histogram of gray levels and sentences, from the images `rows`."""
    gray = GrayStatistics()
    bits, pixels, mean, square = 0, 0, np.zeros(3), np.zeros(3)
    for done, row in enumerate(rows, start=1):
        image = _middle(images.pixels(row))
        gray.add(image)
        bits += compressed_bits(image)
        pixels += image.shape[0] * image.shape[1]
        flat = image.reshape(-1, image.shape[2]).astype(np.float32)
        mean += flat.sum(axis=0)
        square += (flat**2).sum(axis=0)
        progress.update(done)
    mean, square = mean / pixels, square / pixels
    per_pixel = bits / pixels
    figures: dict[str, Figure] = {
        "sampled_images": len(rows),
        "intensity_entropy_bits": round(gray.intensity_bits, 3),
        "patch_entropy_bits_per_pixel": round(gray.patch_bits, 3),
        "redundancy": round(gray.redundancy, 3),
        "compressed_bits_per_pixel": round(per_pixel, 3),
        "pixel_mean": [round(value, 1) for value in mean.tolist()],
        "pixel_std": [round(value, 1) for value in np.sqrt(square - mean**2).tolist()],
    }
    area = float(np.mean(images.heights[rows] * images.widths[rows].astype(np.int64)))
    if gray.redundancy > 0.5:
        kind = "smooth or empty: a smaller image size may lose little"
    elif gray.redundancy < 0.15:
        kind = "close to noise: much of it is not about any label"
    else:
        kind = "textured, as photos are"
    sentences = [
        f"An image holds about {per_pixel * area / 1000:,.1f} kbit when compressed without loss "
        f"({per_pixel:.2f} bits a pixel).",
        f"Its 2x2 patch tells {gray.redundancy:.0%} of a pixel: the images are {kind}.",
    ]
    levels = gray.levels.reshape(32, 8).sum(axis=1).tolist()
    histogram = Histogram(list(range(0, 257, 8)), levels, "gray level")
    return figures, {"intensity": histogram}, sentences


def size_histograms(images: Images) -> dict[str, Histogram]:
    """Returns histograms of the heights and widths that differ; images of one size have none."""
    sides = {"height": images.heights, "width": images.widths}
    histograms = {}
    for name, values in sides.items():
        if values.min() < values.max():
            counts, edges = np.histogram(values, bins=20)
            rounded = [round(edge, 1) for edge in edges.tolist()]
            histograms[name] = Histogram(rounded, counts.tolist(), "px")
    return histograms


def _span(values: np.ndarray) -> int | str:
    low, middle, high = int(values.min()), int(np.median(values)), int(values.max())
    return low if low == high else f"{low} to {high}, median {middle}"


def _middle(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - _MAX_SIDE) // 2) for side in image.shape[:2])
    return image[top : top + _MAX_SIDE, left : left + _MAX_SIDE]
