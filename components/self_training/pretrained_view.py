"""How a frozen network with weights of ImageNet sees the images, at a side of its own.

It has seen a million photographs and is looked at more closely than a network that is trained: of
few labels, its neighbours often say more than those of the features that these labels have taught.
Shapes: N images, F features.
"""

import time
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.architectures.frozen_features import open_backbone
from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.image_features import read_features
from kfp_vision.components.shared.tasks.frozen_baseline import BACKBONE, choose_side

__all__ = ["PretrainedView", "open_pretrained_view"]


class PretrainedView:
    """Features before the head; each image is looked at once.

    Attributes:
        num_features: F.
    """

    def __init__(
        self, dataset_dir: Path, info: DatasetInfo, num_images: int, feature_dir: Path
    ) -> None:
        """Builds the network.

        Args:
            dataset_dir: Folder of the dataset.
            info: Of the dataset.
            num_images: Of all splits that are looked at: the more, the smaller.
            feature_dir: Keeps the features, outlives a killed task.
        """
        self._backbone = open_backbone(BACKBONE)
        self.num_features = self._backbone.num_features
        height, width = info.median_height, info.median_width
        side = choose_side(num_images, height, width, self._backbone)
        self._size = size_of_area(height, width, side, self._backbone.min_size)
        self._dataset_dir, self._channels = dataset_dir, info.channels
        self._feature_dir = feature_dir

    def __call__(self, split: str, rows: np.ndarray) -> np.ndarray:
        """Returns the features of some images of a split, of unit length, float32 [N, F]."""
        given = (split, rows, self._size, self._channels, self._feature_dir)
        features = read_features(self._backbone, self._dataset_dir, *given)
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        features /= np.maximum(lengths, 1e-9)
        return features

    def seconds_per_image(self, split: str, rows: np.ndarray) -> float:
        """Returns what it takes to read and to look at an image.

        Args:
            split: As of `__call__`.
            rows: Some that have not been looked at yet, int.
        """
        # The first one starts the network.
        self(split, rows[:1])
        timed, began = rows[1:] if len(rows) > 1 else rows, time.monotonic()
        self(split, timed)
        return (time.monotonic() - began) / len(timed)


def open_pretrained_view(
    dataset_dir: Path, info: DatasetInfo, num_images: int, feature_dir: Path
) -> PretrainedView | None:
    """Returns the view; None where the weights are not at hand.

    Args:
        dataset_dir: As of `PretrainedView`.
        info: As there.
        num_images: As there.
        feature_dir: As there.
    """
    if missing_weights(BACKBONE):
        return None
    return PretrainedView(dataset_dir, info, num_images, feature_dir)
