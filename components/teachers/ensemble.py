"""What several networks say together: averages, greedy selection, stacking; how they differ.

Shapes: M members, N images, C classes; outputs [M, N, C] are raw; labels int [N], or uint8 [N, C]
where classes are independent; weights of the images in a loss [N], or None where all count the
same.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.calibration import (
    activate,
    fit_temperature,
    negative_log_likelihood,
)
from kfp_vision.components.shared.tasks.frozen_baseline import fit_head

__all__ = [
    "LEAST_PROBABILITY",
    "WAYS",
    "Average",
    "Stack",
    "average",
    "disagreement",
    "log_mean",
    "select_greedily",
    "stack",
]

# A logarithm is finite, and its range is one that int8 can hold.
LEAST_PROBABILITY = 1e-7
# Of the greedy selection: the weights are multiples of a share of this or more.
_PICKS = 20
# Nats: less is the rounding of a sum.
_LOWER = 1e-9


@dataclasses.dataclass(frozen=True)
class Average:
    """The mean of calibrated probabilities: nobody counts more because of being bold.

    Attributes:
        weights: Of the members, [M], sum 1.
        temperatures: That their outputs are divided by, [M].
        multilabel: Whether classes are independent.
    """

    weights: np.ndarray
    temperatures: np.ndarray
    multilabel: bool

    def __call__(self, outputs: np.ndarray) -> np.ndarray:
        """Returns raw outputs [N, C]."""
        probabilities = _probabilities(outputs, self.temperatures, self.multilabel)
        return log_mean(probabilities, self.weights, self.multilabel)


@dataclasses.dataclass(frozen=True)
class Stack:
    """A logistic regression on what the members say.

    Attributes:
        kernel: [M * C, C].
        bias: [C].
        multilabel: Whether classes are independent.
    """

    kernel: np.ndarray
    bias: np.ndarray
    multilabel: bool

    def __call__(self, outputs: np.ndarray) -> np.ndarray:
        """Returns raw outputs [N, C]."""
        stacked: np.ndarray = _said(outputs, self.multilabel) @ self.kernel + self.bias
        return stacked


def log_mean(probabilities: np.ndarray, weights: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns the raw outputs [N, C] whose probabilities are the mean of the members'.

    The logarithm of the mean, or its logit where classes are independent.

    Args:
        probabilities: [M, N, C].
        weights: [M], sum 1.
        multilabel: Whether classes are independent.
    """
    mean = np.tensordot(weights, probabilities, 1)
    held = np.clip(mean, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    raw: np.ndarray = np.log(held) - np.log1p(-held) if multilabel else np.log(held)
    return raw


def average(outputs: np.ndarray, labels: np.ndarray, image_weights: np.ndarray | None) -> Average:
    """Returns the mean in which every member counts the same."""
    weights = np.full(len(outputs), 1 / len(outputs))
    return Average(weights, _temperatures(outputs, labels, image_weights), labels.ndim == 2)


def select_greedily(
    outputs: np.ndarray, labels: np.ndarray, image_weights: np.ndarray | None
) -> Average:
    """Returns the mean of members that were picked one by one, each as often as it helps.

    A pick is the member with which the mean of all picks has the lowest loss; of twenty picks those
    up to the lowest one count, of equal losses the fewest.

    Reference: Caruana et al., 2004, Ensemble Selection from Libraries of Models, sections 2.1-2.2.
    """
    multilabel = labels.ndim == 2
    temperatures = _temperatures(outputs, labels, image_weights)
    probabilities = _probabilities(outputs, temperatures, multilabel)
    counts, best, lowest = np.zeros(len(outputs)), np.zeros(len(outputs)), np.inf
    for pick in range(1, _PICKS + 1):
        means = (
            log_mean(probabilities, weights / pick, multilabel)
            for weights in counts + np.eye(len(outputs))
        )
        losses = [negative_log_likelihood(labels, each, weights=image_weights) for each in means]
        chosen = int(np.argmin(losses))
        counts[chosen] += 1
        if losses[chosen] < lowest - _LOWER:
            best, lowest = counts / pick, losses[chosen]
    return Average(best, temperatures, multilabel)


def stack(outputs: np.ndarray, labels: np.ndarray, image_weights: np.ndarray | None) -> Stack:
    """Returns the regularised logistic regression on the log-probabilities of all members.

    Where images are weighted by their class, every class counts the same.

    Args:
        outputs: For images that no member has learned: out-of-fold predictions.
        labels: Of these images.
        image_weights: The same.

    Reference: Wolpert, 1992, Stacked Generalization, Neural Networks 5, 241.
    """
    multilabel = labels.ndim == 2
    samples = Samples(_said(outputs, multilabel), labels)
    head = fit_head(samples, None, outputs.shape[-1], balanced=image_weights is not None)
    return Stack(head.kernel, head.bias, multilabel)


# In the order in which they are shown; what is simpler is preferred where they are equal.
WAYS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray | None], Average | Stack]] = {
    "average": average,
    "greedy": select_greedily,
    "stacking": stack,
}


def disagreement(outputs: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns the share of decisions in which two members differ, [M, M], in [0, 1].

    Args:
        outputs: [M, N, C].
        multilabel: Whether every class of an image is a decision, or the image is one.

    Reference: Kuncheva and Whitaker, 2003, Machine Learning 51, 181, section 2.3.
    """
    decided = outputs > 0 if multilabel else outputs.argmax(axis=-1)[..., None]
    differ: np.ndarray = (decided[:, None] != decided[None]).mean(axis=(2, 3))
    return differ


def _temperatures(
    outputs: np.ndarray, labels: np.ndarray, image_weights: np.ndarray | None
) -> np.ndarray:
    return np.array([fit_temperature(labels, each, image_weights) for each in outputs])


def _probabilities(outputs: np.ndarray, temperatures: np.ndarray, multilabel: bool) -> np.ndarray:
    return np.stack(
        [activate(each / t, multilabel) for each, t in zip(outputs, temperatures, strict=True)]
    )


def _said(outputs: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns what members say as features [N, M * C]: log-probabilities, or raw outputs."""
    each = [log_mean(activate(one, multilabel)[None], np.ones(1), multilabel) for one in outputs]
    return np.concatenate(each, axis=-1).astype(np.float32)
