"""What a network knows that has seen no label: a linear and a nearest-neighbour probe.

Shapes: N known and M held-out images, features [N, F] and [M, F], C classes; labels int [N] or
uint8 [N, C].
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.search.scoring import calibrated_losses
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.frozen_baseline import fit_head
from kfp_vision.components.shared.tasks.records import whole_set_metrics

__all__ = ["HeldOutImages", "Probe", "nearest_probabilities"]

# Images, and which of them, int.
HeldOutImages = Sequence[tuple[LabelledImages, np.ndarray]]
# Both of the reference of `nearest_probabilities`, for small sets.
_NEIGHBOURS, _TEMPERATURE = 20, 0.07
# Of known and of held-out images.
_MOST = 2000


@dataclasses.dataclass(frozen=True)
class Probe:
    """Labelled images that a network is asked about.

    Attributes:
        task: Of the images.
        num_classes: C.
        metric: That judges.
        class_weights: Of the trainings, [C]; with them every class of a probe counts the same. None
            for none.
        known: Images that a probe learns.
        held_out: Those that it is judged by.
    """

    task: Task
    num_classes: int
    metric: str
    class_weights: np.ndarray | None
    known: LabelledImages
    held_out: HeldOutImages

    def __call__(self, read: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float, float]:
        """Returns metric of the linear probe, metric of the nearest images, loss of the former.

        Args:
            read: Images uint8 [B, H, W, K] -> features [B, F].
        """
        known = _samples(read, [(self.known, np.arange(len(self.known)))])
        judged = _samples(read, self.held_out)
        balanced = self.class_weights is not None
        head = fit_head(known, None, self.num_classes, balanced)
        logits = head(judged.features)
        near = nearest_probabilities(known, judged.features, self.num_classes)
        targets = {"label": judged.labels}
        order = np.random.default_rng(0).permutation(len(logits))
        given = (self.task, targets, logits, (order[::2], order[1::2]))
        losses = calibrated_losses(*given, self.class_weights)
        linear, nearest = (
            whole_set_metrics(self.task, self.task.record(targets, each)).get(self.metric, 0.0)
            for each in (self.task.decode(logits), near)
        )
        return linear, nearest, float(losses.mean())


def _samples(read: Callable[[np.ndarray], np.ndarray], held: HeldOutImages) -> Samples:
    features, labels = [], []
    for images, rows in held:
        chosen = np.sort(np.random.default_rng(0).permutation(rows)[:_MOST])
        for pixels, targets in images.batches(chosen) if len(chosen) else ():
            features.append(read(pixels))
            labels.append(targets["label"])
    return Samples(np.concatenate(features), np.concatenate(labels))


def nearest_probabilities(known: Samples, features: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the share of each class among the 20 nearest images, weighted, [M, C].

    The weight of an image is exp(cosine / 0.07).

    Args:
        known: Features and labels.
        features: Of the others.
        num_classes: C.

    Reference: Wu et al., 2018, arXiv:1805.01978, section 3.4.
    """
    labels = known.labels
    present = labels if labels.ndim == 2 else np.eye(num_classes)[labels]
    first, second = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
        for each in (features, known.features)
    )
    cosines = first @ second.T
    count = min(_NEIGHBOURS, len(labels))
    nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    # At most 1, so that nothing is beyond the numbers.
    weights = np.exp((np.take_along_axis(cosines, nearest, axis=1) - 1.0) / _TEMPERATURE)
    votes = (weights[..., None] * present[nearest]).sum(axis=1)
    shares: np.ndarray = votes / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    return shares
