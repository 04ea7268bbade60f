"""What a model must beat: rules that need no network, on small standardised pixels.

Shapes: N images, D pixels, C classes; features float32 [N, D], labels int [N] or uint8 [N, C],
logits [N, C]. A baseline is fitted once and is a function features -> logits afterwards.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from kfp_vision.components.evaluation.calibration import activate, negative_log_likelihood

__all__ = [
    "BASELINES",
    "Predict",
    "Samples",
    "fit_logistic",
    "linear",
    "nearest_centroid",
    "zero_rule",
]

Predict = Callable[[np.ndarray], np.ndarray]

# Strongest first: each fit starts from the one before.
_PENALTIES = (1.0, 0.1, 0.01, 0.001)
_ITERATIONS = 15


class Samples(NamedTuple):
    """Features [N, D] and labels [N] or [N, C]."""

    features: np.ndarray
    labels: np.ndarray


def zero_rule(
    train: Samples, validation: Samples, num_classes: int, balanced: bool = False
) -> Predict:
    """Returns the predictor whose probabilities are the class frequencies, whatever the image."""
    # Half an image: a class that training lacks is improbable and not impossible.
    floor = 0.5 / len(train.labels)
    frequency = np.clip(_present(train.labels, num_classes).mean(axis=0), floor, 1 - floor)
    row = logit(frequency) if train.labels.ndim == 2 else np.log(frequency)
    return lambda features: np.tile(row, (len(features), 1))


def nearest_centroid(
    train: Samples, validation: Samples, num_classes: int, balanced: bool = False
) -> Predict:
    """Returns the predictor by mean squared distance to the mean image of each class.

    With independent labels: the distance to the mean image without the class, minus that with it.
    A class without images has the mean image zero, that of all images.
    """
    present = _present(train.labels, num_classes)

    def negative_distances(members: np.ndarray) -> Predict:
        centroids = members.T @ train.features / np.maximum(members.sum(axis=0), 1)[:, None]
        # -|x - m|^2 without |x|^2, which is the same for every class.
        squared_norms = (centroids**2).sum(axis=1)
        return lambda features: (2 * features @ centroids.T - squared_norms) / features.shape[1]

    with_class, without_class = negative_distances(present), negative_distances(1 - present)
    if train.labels.ndim == 1:
        return with_class
    return lambda features: with_class(features) - without_class(features)


def linear(
    train: Samples, validation: Samples, num_classes: int, balanced: bool = False
) -> Predict:
    """Returns the logistic regression with the penalty that does best on the validation split.

    When `balanced`, every class counts the same and not every image, as in a model that is trained
    and judged that way.
    """
    train_weights, validation_weights = (
        _class_balance(samples.labels) if balanced else None for samples in (train, validation)
    )
    weights = np.zeros((train.features.shape[1] + 1, num_classes), np.float32)
    path = []
    for penalty in _PENALTIES:
        weights = fit_logistic(train, weights, penalty, _ITERATIONS, train_weights)
        logits = _affine(validation.features, weights)
        loss = negative_log_likelihood(validation.labels, logits, weights=validation_weights)
        path.append((loss, weights))
    best = min(path, key=lambda entry: entry[0])[1]
    return lambda features: _affine(features, best)


def fit_logistic(
    train: Samples,
    weights: np.ndarray,
    penalty: float,
    max_iterations: int,
    image_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the weights of a softmax (or one sigmoid a class) regression.

    Minimises the mean over images of the cross-entropy, plus penalty / 2 |weights|^2, by L-BFGS.
    scikit-learn 1.9 minimises the same in float64, and one label at a time: on one core its path of
    four penalties took 9.0 s instead of 2.1 s on cifar10 at 16 px (8,000 images) and 20.9 s instead
    of 2.1 s on 4,394 images with many labels, at the same loss (1.736 and 1.735; 0.430 and 0.433).

    Args:
        train: N images.
        weights: Where to start, [D + 1, C]; the last row is the intercept, not penalised.
        penalty: lambda > 0, per image.
        max_iterations: Bounds the time.
        image_weights: How much each image counts, [N] with mean 1; None when all count the same.
    """
    multilabel = train.labels.ndim == 2
    present = _present(train.labels, weights.shape[1])
    # Losses of a multi-label image are added over classes; the mean over them is what is returned.
    outcomes = weights.shape[1] if multilabel else 1

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        current = flat.reshape(weights.shape).astype(np.float32)
        logits = _affine(train.features, current)
        residual = (activate(logits, multilabel) - present) / len(logits)
        if image_weights is not None:
            residual *= image_weights[:, None]
        gradient = np.vstack([train.features.T @ residual, residual.sum(axis=0)])
        gradient[:-1] += penalty * current[:-1]
        loss = outcomes * negative_log_likelihood(train.labels, logits, weights=image_weights)
        loss += penalty / 2 * float((current[:-1] ** 2).sum())
        return loss, gradient.ravel().astype(np.float64)

    found = minimize(
        objective, weights.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_iterations}
    )
    fitted: np.ndarray = found.x.reshape(weights.shape).astype(np.float32)
    return fitted


BASELINES: dict[str, Callable[[Samples, Samples, int, bool], Predict]] = {
    "zero_rule": zero_rule,
    "nearest_centroid": nearest_centroid,
    "linear": linear,
}


def _affine(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    logits: np.ndarray = features @ weights[:-1] + weights[-1]
    return logits


def _class_balance(labels: np.ndarray) -> np.ndarray:
    """Returns weights [N] with mean 1 under which every class that is there counts the same."""
    counts = np.bincount(labels)
    inverse = 1 / counts[labels].astype(np.float32)
    weights: np.ndarray = inverse / inverse.mean()
    return weights


def _present(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float32 [N, C], one where the class is present."""
    present = labels if labels.ndim == 2 else np.eye(num_classes)[labels]
    return present.astype(np.float32)
