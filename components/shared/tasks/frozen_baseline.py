"""The customer's cheapest alternative: ImageNet features of a frozen network, a linear head.

Shapes: N images, F features, C classes; records of M test images.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.architectures.frozen_features import FrozenBackbone, open_backbone
from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.image_features import read_features
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.datasets.train_sample import sampled_rows
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks.baselines import Samples, fit_linear
from kfp_vision.components.shared.tasks.calibration import fit_temperature
from kfp_vision.components.shared.tasks.frozen_limits import ENLARGEMENT, LEAST_SIDE, MAX_PIXELS
from kfp_vision.components.shared.tasks.protocol import Records, Task

__all__ = [
    "BACKBONE",
    "LinearHead",
    "choose_rows",
    "choose_side",
    "fit_head",
    "predict_frozen_features",
]

BACKBONE = DEFAULT_PRETRAINED
_STEP = 16


def choose_side(num_images: int, height: int, width: int, backbone: FrozenBackbone) -> int:
    """Returns the pixels a side at which the images are looked at, a multiple of 16.

    Args:
        num_images: Of all splits.
        height: Median, in pixels.
        width: Median, in pixels.
        backbone: The network.
    """
    useful = min(backbone.auto_size, ENLARGEMENT * math.sqrt(height * width))
    affordable = max(LEAST_SIDE, math.sqrt(MAX_PIXELS / num_images))
    side = min(useful, affordable)
    return max(backbone.min_size, _STEP * math.floor(side / _STEP))


def choose_rows(splits: dict[str, int], side: int, seed: int) -> dict[str, np.ndarray]:
    """Returns which images of `train`, `validation` and `test` are used, int, sorted.

    All where the pixels allow; else at most a sixth of what they allow of validation, a third of
    test, and the rest of train, of which `sampled_rows` are at hand.
    """
    at_hand = {split: np.arange(size) for split, size in splits.items()}
    at_hand["train"] = sampled_rows(splits["train"])
    limit = int(MAX_PIXELS // side**2)
    counts = {
        "validation": min(splits["validation"], max(1, limit // 6)),
        "test": min(splits["test"], max(1, limit // 3)),
    }
    counts["train"] = min(len(at_hand["train"]), max(1, limit - sum(counts.values())))
    generator = np.random.default_rng(seed)
    return {
        split: np.sort(generator.choice(at_hand[split], count, replace=False))
        for split, count in counts.items()
    }


@dataclasses.dataclass(frozen=True)
class LinearHead:
    """A linear layer on features as the network gives them.

    Attributes:
        kernel: [F, C].
        bias: [C].
    """

    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns logits [N, C] of features [N, F]."""
        logits: np.ndarray = features @ self.kernel + self.bias
        return logits


def fit_head(
    train: Samples, validation: Samples | None, num_classes: int, balanced: bool
) -> LinearHead:
    """Returns the regularised logistic regression on standardised features.

    Args:
        train: Features [N, F] as the network gives them, and labels.
        validation: Choose the penalty; None for folds of `train`.
        num_classes: C.
        balanced: Whether every class counts the same, and not every image.
    """
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0) + 1e-3
    scaled, held_out = (
        held and Samples(((held.features - mean) / deviation).astype(np.float32), held.labels)
        for held in (train, validation)
    )
    assert scaled is not None
    with Progress("fit a head"):
        weights = fit_linear(scaled, held_out, num_classes, balanced)
    kernel = weights[:-1] / deviation[:, None]
    return LinearHead(kernel, weights[-1] - mean @ kernel)


def predict_frozen_features(
    task: Task,
    dataset_dir: Path,
    info: DatasetInfo,
    balanced: bool,
    seed: int,
    cache_dir: Path | None,
) -> Records:
    """Returns the records of test images, calibrated on validation; `row` says which they are.

    Args:
        task: Of the images.
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
        balanced: Whether every class counts the same.
        seed: Of the choice of images, where not all are used.
        cache_dir: As of `read_features`.
    """
    backbone = open_backbone(BACKBONE)
    sizes = {split: info.splits[split] for split in ("train", "validation", "test")}
    side = choose_side(sum(sizes.values()), info.median_height, info.median_width, backbone)
    size = size_of_area(info.median_height, info.median_width, side, backbone.min_size)
    rows = choose_rows(sizes, side, seed)
    samples = {}
    for split, chosen in rows.items():
        features = read_features(
            backbone, dataset_dir, split, chosen, size, info.channels, cache_dir
        )
        targets = task.open_targets(open_split(dataset_dir, split), size, len(info.classes))
        samples[split] = Samples(features, targets(chosen)["label"])
    train, validation, test = (samples[split] for split in ("train", "validation", "test"))
    predict = fit_head(train, validation, len(info.classes), balanced)
    temperature = fit_temperature(validation.labels, predict(validation.features))
    predictions = task.decode(predict(test.features), temperature)
    return {**task.record({"label": test.labels}, predictions), "row": rows["test"]}
