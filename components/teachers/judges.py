"""The validation images, which judge what is made of the members.

Shapes: N validation images, C classes.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from kfp_vision.components.shared.artifacts.teachers_result import Tried
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.search.scoring import (
    calibrated_losses,
    calibrated_outputs,
    random_halves,
)
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.tasks.calibration import calibration_gap
from kfp_vision.components.shared.tasks.records import whole_set_metrics

__all__ = ["Fit", "Judges"]

# From rows to the outputs, for all images, of what was fitted on these rows: int [K] -> [N, C].
Fit = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Judges:
    """The validation images.

    Attributes:
        task: Of the images.
        targets: {name: [N, ...]}.
        primary: The metric that decides.
        class_weights: Of the trainings, [C]; None for none.
    """

    task: Task
    targets: Mapping[str, np.ndarray]
    primary: str
    class_weights: np.ndarray | None

    def __len__(self) -> int:
        """Returns N."""
        return len(self.labels)

    @property
    def labels(self) -> np.ndarray:
        """Labels int [N], or uint8 [N, C]."""
        return self.targets["label"]

    @property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Two parts, always the same: what is fitted on one is judged by the other."""
        return random_halves(len(self))

    def image_weights(self, rows: np.ndarray) -> np.ndarray | None:
        """Returns how much some images count by their class, [K]; None where all count the same."""
        return None if self.class_weights is None else self.class_weights[self.labels[rows]]

    def losses(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the calibrated loss of each image in nats, [N], of raw outputs [N, C]."""
        given = (self.task, self.targets, outputs, self.halves)
        return calibrated_losses(*given, self.class_weights)

    def held_out_losses(self, fit: Fit) -> np.ndarray:
        """Returns the same of what is fitted: on each half, and read from the other one."""
        said = self._held_out_outputs(fit)
        losses = self.task.loss(self.targets, said, class_weights=self.class_weights)
        return np.asarray(losses, np.float64)

    def _held_out_outputs(self, fit: Fit) -> np.ndarray:
        """Returns what is fitted says, [N, C], calibrated: all by the half that is not read."""
        parts = []
        for fitted, read in (self.halves, self.halves[::-1]):
            given = (self.task, self.targets, fit(fitted), (fitted, read))
            parts.append((read, calibrated_outputs(*given, self.class_weights)[read]))
        said = np.empty((len(self), *parts[0][1].shape[1:]), np.float32)
        for read, part in parts:
            said[read] = part
        return said

    def try_ways(self, outputs: np.ndarray, ways: Mapping[str, Fit]) -> tuple[list[Tried], str]:
        """Returns what each way gains over a model, and the name of the one that is kept, or "".

        Of those whose gain clears zero it is the one that gains most.

        Args:
            outputs: Of the model, [N, C].
            ways: By name.
        """
        reference, tried = self.losses(outputs), []
        for name, fit in ways.items():
            losses = self.held_out_losses(fit)
            gain = measure_gain(reference[None], losses[None], len(ways))
            tried.append(Tried(name, float(losses.mean()), gain))
        accepted = [each for each in tried if each.gain.is_accepted]
        best = max(accepted, key=lambda each: each.gain.value, default=None)
        return tried, best.way if best else ""

    def value(self, outputs: np.ndarray) -> float | None:
        """Returns the metric that decides, or None where it is undefined, of outputs [N, C]."""
        records = self.task.record(self.targets, self.task.decode(outputs))
        return whole_set_metrics(self.task, records).get(self.primary)

    def calibration_error(self, fit: Fit) -> float:
        """Returns the gap between confidence and accuracy, in [0, 1], of what is fitted.

        After calibration, by the half that is not read: what several networks say together is
        calibrated by what joins them, and could not be compared with what each says by itself.
        """
        probabilities = self.task.decode(self._held_out_outputs(fit))
        if self.labels.ndim == 2:
            return calibration_gap(probabilities.ravel(), self.labels.ravel())[0]
        is_right = probabilities.argmax(axis=1) == self.labels
        return calibration_gap(probabilities.max(axis=1), is_right)[0]
