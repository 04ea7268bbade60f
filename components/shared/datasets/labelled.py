"""Images with the targets of a task: what a training reads."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.loader import ImageSource, prefetch
from kfp_vision.components.shared.tasks import Task

__all__ = ["LabelledImages", "open_labelled"]


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """N images and their encoded targets {name: [N, ...]}."""

    source: ImageSource
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Returns N."""
        return len(self.source)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns images uint8 [*S, H, W, C], targets {name: [*S, ...]}; S: shape of indices."""
        return self.source.take(indices), {
            name: value[indices] for name, value in self.targets.items()
        }

    def batches_of(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yields images and targets of some rows [N], N > 0, in parts of bounded memory."""
        parts = math.ceil(len(rows) / self.source.images_per_batch)
        yield from map(self.take, np.array_split(rows, parts))

    def image_batches(self) -> Iterator[np.ndarray]:
        """Yields all images in order, uint8 [B, H, W, C]."""
        size = self.source.images_per_batch
        starts = range(0, len(self), size)
        indices = (np.arange(start, min(start + size, len(self))) for start in starts)
        return prefetch(self.source.take, indices)


def open_labelled(
    dataset_dir: Path, split: str, image_shape: tuple[int, int, int], task: Task, num_classes: int
) -> LabelledImages:
    """Opens a split of the dataset at `image_shape` (height, width, channels) for a task."""
    source = ImageSource(dataset_dir, split, image_shape[:2], image_shape[2])
    return LabelledImages(source, task.encode(source.labels, num_classes))
