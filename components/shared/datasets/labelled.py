"""Images with the targets of a task: what a training and an evaluation read."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import ImageSource, prefetch
from kfp_vision.components.shared.tasks import ReadTargets, Task

__all__ = ["LabelledImages", "open_labelled"]

Batch = tuple[np.ndarray, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """N images and what reads their targets; both are made a batch at a time.

    Attributes:
        source: The images of a split.
        read_targets: Positions in [0, N) -> their targets.
        rows: Which image of the source is at each position, int [N], in any order and number; None
            for all of them in order.
    """

    source: ImageSource
    read_targets: ReadTargets
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        """Returns N."""
        return len(self.source if self.rows is None else self.rows)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """Returns images uint8 [*S, H, W, C]; S: shape of indices."""
        return self.source.take(indices if self.rows is None else self.rows[indices])

    def take(self, indices: np.ndarray) -> Batch:
        """Returns images uint8 [*S, H, W, C], targets {name: [*S, ...]}; S: shape of indices."""
        return self.pixels(indices), self.read_targets(indices)

    def batches_of(self, rows: np.ndarray) -> Iterator[Batch]:
        """Yields images and targets of some rows [N], N > 0, in parts of bounded memory."""
        parts = math.ceil(len(rows) / self.source.images_per_batch)
        yield from map(self.take, np.array_split(rows, parts))

    def batches(self, rows: np.ndarray | None = None) -> Iterator[Batch]:
        """Yields all images in order, or those of `rows` [N], and their targets, [B, ...]."""
        if rows is None:
            rows = np.arange(len(self))
        size = self.source.images_per_batch
        return prefetch(
            self.take, (rows[start : start + size] for start in range(0, len(rows), size))
        )


def open_labelled(
    dataset_dir: Path,
    split: str,
    image_shape: tuple[int, int, int],
    task: Task,
    num_classes: int,
    memory_budget_bytes: int | None = None,
    cache: ImageCache | None = None,
    is_judged: bool = False,
) -> LabelledImages:
    """Opens a split of the dataset for a task.

    Args:
        dataset_dir: Folder of the dataset.
        split: As of `store.open_split`.
        image_shape: (height, width, channels) that images and targets are resized to.
        task: What to learn.
        num_classes: C.
        memory_budget_bytes: As of `ImageSource`.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        is_judged: Whether a model is judged by the targets: then they are those of `open_truth`.
    """
    height, width, channels = image_shape
    source = ImageSource(dataset_dir, split, (height, width), channels, memory_budget_bytes, cache)
    open_read = task.open_truth if is_judged else task.open_targets
    return LabelledImages(source, open_read(source.table, image_shape[:2], num_classes))
