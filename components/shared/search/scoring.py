"""The score of a trial: the held-out loss after temperature scaling.

The raw loss charges label smoothing, MixUp and strong policies for their confidence, which one
number mends after the training, and not for their errors. Where the trainings weight the classes,
so does the score: no temperature would mend what the weights do, and whatever undoes them would
gain.
Shapes: N held-out images, C classes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.metrics.temperature import best_temperature
from kfp_vision.components.shared.tasks import Outputs, Targets, Task
from kfp_vision.components.shared.tasks.records import join_records

__all__ = [
    "calibrated_losses",
    "calibrated_outputs",
    "fit_task_temperature",
    "held_out_losses",
    "random_halves",
    "scored_losses",
]


def calibrated_outputs(
    task: Task,
    targets: Mapping[str, np.ndarray],
    logits: np.ndarray,
    halves: Sequence[np.ndarray],
    class_weights: np.ndarray | None,
) -> np.ndarray:
    """Returns the logits over their temperature, float32 [N, ...].

    The temperature of one half of the images is fitted on the other half.

    Args:
        task: Its loss is scaled.
        targets: {name: [N, ...]}.
        logits: [N, ...], finite.
        halves: Rows of two parts of the images, together all of them.
        class_weights: Of the trainings, [C]; None for none.
    """
    calibrated = np.empty(logits.shape, np.float32)
    for fitted, read in (halves, halves[::-1]):
        held = {name: value[fitted] for name, value in targets.items()}
        temperature = fit_task_temperature(task, held, logits[fitted], class_weights)
        calibrated[read] = logits[read] / temperature
    return calibrated


def fit_task_temperature(
    task: Task,
    targets: Mapping[str, np.ndarray],
    logits: np.ndarray,
    class_weights: np.ndarray | None,
) -> float:
    """Returns the T > 0 for which the loss of logits / T is least on all images.

    Args:
        task: Its loss is scaled.
        targets: {name: [N, ...]}.
        logits: [N, ...], finite.
        class_weights: Of the trainings, [C]; None for none.
    """
    # As in Platt scaling: without it few images without a mistake would ask for certainty.
    smoothing = 1.0 / (len(logits) + 2)

    def mean_loss(scaled: np.ndarray) -> float:
        given = targets, scaled.astype(np.float32)
        values = task.loss(*given, label_smoothing=smoothing, class_weights=class_weights)
        return float(np.mean(values))

    return best_temperature(mean_loss, logits)


def calibrated_losses(
    task: Task,
    targets: Mapping[str, np.ndarray],
    logits: np.ndarray,
    halves: Sequence[np.ndarray],
    class_weights: np.ndarray | None,
) -> np.ndarray:
    """Returns the loss of every image in nats, [N]; arguments of `calibrated_outputs`."""
    calibrated = calibrated_outputs(task, targets, logits, halves, class_weights)
    return np.asarray(task.loss(targets, calibrated, class_weights=class_weights), np.float64)


def scored_losses(
    task: Task,
    batches: Iterable[tuple[Targets, Outputs]],
    class_weights: np.ndarray | None,
) -> np.ndarray:
    """Returns the loss of every image by which trials are compared, in nats, [N].

    It is the calibrated one or, where targets lie in the image, the plain one: outputs are large
    there, and most of a loss is about places, which have no temperature. NaN throughout where an
    output is not finite.

    Args:
        task: Of the images.
        batches: Targets and outputs of all images; outputs of spatial tasks are not kept.
        class_weights: As of `calibrated_outputs`.
    """
    if task.is_spatial:
        losses = (task.loss(*each, class_weights=class_weights) for each in batches)
        return np.concatenate([np.asarray(each, np.float64) for each in losses])
    targets, outputs = zip(*batches, strict=True)
    logits = np.concatenate(outputs)
    if not np.isfinite(logits).all():
        return np.full(len(logits), np.nan)
    joined = join_records(targets)
    # The images lie in the order of their classes.
    order = np.random.default_rng(0).permutation(len(logits))
    return calibrated_losses(task, joined, logits, np.array_split(order, 2), class_weights)


def random_halves(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of two halves of the images, always the same."""
    order = np.random.default_rng(0).permutation(num_images)
    return order[::2], order[1::2]


def held_out_losses(
    task: Task,
    ask: Callable[[np.ndarray], np.ndarray],
    held_out: Sequence[tuple[LabelledImages, np.ndarray]],
    class_weights: np.ndarray | None,
) -> np.ndarray:
    """Returns the calibrated loss of a model on every held-out image, in nats, [N].

    Args:
        task: Of the model.
        ask: Images uint8 [B, H, W, C] -> raw outputs [B, ...].
        held_out: Images, and which of them, int; together N.
        class_weights: As of `calibrated_outputs`.
    """
    outputs, targets = [], []
    for images, rows in held_out:
        if len(rows):
            outputs += [ask(pixels) for pixels, _ in images.batches(rows)]
            targets.append(images.read_targets(rows))
    joined = join_records(targets)
    said = np.concatenate(outputs)
    return calibrated_losses(task, joined, said, random_halves(len(said)), class_weights)
