"""What a task is: targets that travel with the image, a head, a loss per image, set metrics.

Shapes: N images of a set, B of a batch, C classes. Targets are dicts of arrays whose first axis is
the image, so that the loader and the training loop never look inside.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Targets", "Task"]

Targets = Mapping[str, Any]


class Task(Protocol):
    """Everything in which tasks differ."""

    name: str

    def encode(self, labels: Sequence[Sequence[int]], num_classes: int) -> dict[str, np.ndarray]:
        """Returns the targets of N images as compact arrays [N, ...] for the loader."""
        ...

    def build_head(self, features: Any, num_classes: int, dropout: float) -> Any:
        """Returns the raw output (logits) of the task on a [B, H, W, F] feature map."""
        ...

    def loss(
        self,
        targets: Targets,
        logits: Any,
        *,
        label_smoothing: float = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the loss of each image, [B], in nats."""
        ...

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the mean loss in nats of a model that knows nothing: all logits zero."""
        ...

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the mean loss in nats of a model that knows how frequent each label is, alone."""
        ...

    def activate(self, logits: Any) -> Any:
        """Returns predictions (probabilities) for logits, as tensors."""
        ...

    def metrics(self, targets: Targets, predictions: np.ndarray) -> dict[str, float]:
        """Returns the metrics of a set; what the set leaves undefined is absent."""
        ...

    def resampled_metrics(
        self, targets: Targets, predictions: np.ndarray, counts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the metrics [R] of R resamples, in which image n is counts[n, r] times."""
        ...
