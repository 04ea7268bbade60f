"""What a model must beat: rules that need no network, on small standardised pixels.

Shapes: N images, D pixels, C classes; features float32 [N, D], labels int [N] or uint8 [N, C],
logits [N, C]. A baseline is fitted once and is a function features -> logits afterwards.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit
from threadpoolctl import threadpool_limits

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.train_sample import sampled_rows
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks.calibration import (
    activate,
    fit_temperature,
    negative_log_likelihood,
)
from kfp_vision.components.shared.tasks.linear_cost import ITERATIONS, PENALTIES
from kfp_vision.components.shared.tasks.protocol import Records, Task

__all__ = [
    "BASELINES",
    "Predict",
    "Samples",
    "fit_linear",
    "fit_logistic",
    "linear",
    "nearest_centroid",
    "predict_baselines",
    "zero_rule",
]

Predict = Callable[[np.ndarray], np.ndarray]

_MIN_VALIDATION, _FOLDS, _ENOUGH_FOR_ONE_FOLD = 100, 5, 2000
# Baselines are linear in pixels: more of them cost time and, at this size, no longer help.
_MAX_IMAGES = 20_000
# Channels -> pixels a side.
_MAX_SIDE = {1: 32, 3: 16}


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
    """Returns the logistic regression of `fit_linear`."""
    weights = fit_linear(train, validation, num_classes, balanced)
    return lambda features: _affine(features, weights)


def fit_linear(
    train: Samples, validation: Samples | None, num_classes: int, balanced: bool
) -> np.ndarray:
    """Returns weights [D + 1, C] with the penalty of the lowest held-out loss; last the intercept.

    Fewer than 100 validation images cannot tell penalties apart: then folds of the training images
    do, five of them or, of 2,000 images, one.

    Args:
        train: What is fitted.
        validation: What chooses the penalty; None for folds.
        num_classes: C.
        balanced: Whether every class counts the same and not every image, as in a model that is
            trained and judged that way.
    """
    if validation is not None and len(validation.labels) >= _MIN_VALIDATION:
        path = _penalty_path(train, num_classes, balanced)
        return path[int(_held_out_losses(path, validation, balanced).argmin())]
    best = int(_fold_losses(train, num_classes, balanced).argmin())
    # Weaker penalties than the chosen one need not be fitted.
    return _penalty_path(train, num_classes, balanced, PENALTIES[: best + 1])[-1]


def _fold_losses(train: Samples, num_classes: int, balanced: bool) -> np.ndarray:
    """Returns the losses for each penalty, summed over folds."""
    losses = np.zeros(len(PENALTIES))
    count = len(train.labels)
    order = np.random.default_rng(0).permutation(count)
    folds = np.array_split(order, min(_FOLDS, count))
    for fold in folds[: 1 if count >= _ENOUGH_FOR_ONE_FOLD else len(folds)]:
        rest = np.setdiff1d(order, fold)
        if len(rest):
            path = _penalty_path(_rows(train, rest), num_classes, balanced)
            losses += len(fold) * _held_out_losses(path, _rows(train, fold), balanced)
    return losses


def _penalty_path(
    train: Samples,
    num_classes: int,
    balanced: bool,
    penalties: Sequence[float] = PENALTIES,
) -> list[np.ndarray]:
    """Returns the weights for each penalty, the strongest first."""
    image_weights = _class_balance(train.labels, balanced)
    weights = np.zeros((train.features.shape[1] + 1, num_classes), np.float32)
    path = []
    for penalty in penalties:
        weights = fit_logistic(train, weights, penalty, ITERATIONS, image_weights)
        path.append(weights)
    return path


def _held_out_losses(path: list[np.ndarray], held: Samples, balanced: bool) -> np.ndarray:
    image_weights = _class_balance(held.labels, balanced)
    return np.array(
        [
            negative_log_likelihood(
                held.labels, _affine(held.features, weights), weights=image_weights
            )
            for weights in path
        ]
    )


def _rows(samples: Samples, rows: np.ndarray) -> Samples:
    return Samples(samples.features[rows], samples.labels[rows])


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

    # The solver's sums of a few thousand numbers are not worth a thread: on two busy cores waiting
    # for the second one took 9 of 10.6 s.
    with threadpool_limits(limits=1, user_api="blas"):
        found = minimize(
            objective,
            weights.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations},
        )
    fitted: np.ndarray = found.x.reshape(weights.shape).astype(np.float32)
    return fitted


def predict_baselines(
    task: Task, dataset_dir: Path, info: DatasetInfo, balanced: bool, seed: int
) -> dict[str, Records]:
    """Returns the test records of every baseline, calibrated on validation as the model is.

    Args:
        task: Of the images.
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
        balanced: Whether every class counts the same.
        seed: Of the images that baselines are fitted on.
    """
    limit = _MAX_SIDE[info.channels]
    shape = (min(info.median_height, limit), min(info.median_width, limit), info.channels)
    generator = np.random.default_rng(seed)
    pixels, labels = {}, {}
    for split in ("train", "validation", "test"):
        # Nothing is kept: only the images drawn are decoded, and each of them once.
        images = open_labelled(dataset_dir, split, shape, task, len(info.classes), 0)
        chosen = sampled_rows(len(images)) if split == "train" else np.arange(len(images))
        if split != "test" and len(chosen) > _MAX_IMAGES:
            chosen = np.sort(generator.choice(chosen, _MAX_IMAGES, replace=False))
        with Progress(f"baselines: read {split}"):
            taken, targets = images.take(chosen)
        pixels[split], labels[split] = taken.reshape(len(chosen), -1), targets["label"]

    mean, deviation = pixels["train"].mean(axis=0), pixels["train"].std() + 1e-6
    samples = {
        split: Samples(((values - mean) / deviation).astype(np.float32), labels[split])
        for split, values in pixels.items()
    }
    records = {}
    for name, fit in BASELINES.items():
        with Progress(f"baselines: {name.replace('_', ' ')}"):
            predict = fit(samples["train"], samples["validation"], len(info.classes), balanced)
            temperature = fit_temperature(
                samples["validation"].labels, predict(samples["validation"].features)
            )
            logits = predict(samples["test"].features)
        records[name] = task.record({"label": labels["test"]}, task.decode(logits, temperature))
    return records


BASELINES: dict[str, Callable[[Samples, Samples, int, bool], Predict]] = {
    "zero_rule": zero_rule,
    "nearest_centroid": nearest_centroid,
    "linear": linear,
}


def _affine(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    logits: np.ndarray = features @ weights[:-1] + weights[-1]
    return logits


def _class_balance(labels: np.ndarray, balanced: bool) -> np.ndarray | None:
    """Returns weights [N] with mean 1 under which every class that is there counts the same.

    None where every image is to count the same, or has several labels.
    """
    if not balanced or labels.ndim == 2:
        return None
    counts = np.bincount(labels)
    inverse = 1 / counts[labels].astype(np.float32)
    weights: np.ndarray = inverse / inverse.mean()
    return weights


def _present(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float32 [N, C], one where the class is present."""
    present = labels if labels.ndim == 2 else np.eye(num_classes)[labels]
    return present.astype(np.float32)
