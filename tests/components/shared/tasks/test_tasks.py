"""Losses against scikit-learn and closed forms, for tasks of whole images."""

import keras
import numpy as np
import pyarrow as pa
import pytest
import scipy.optimize
from sklearn.metrics import log_loss

from kfp_vision.components.shared.tasks import get_task

LABELS = {
    "binary": [[0], [1], [1], [0]],
    "multiclass": [[0], [3], [2], [1]],
    "multilabel": [[0, 2], [], [3], [0, 1, 2, 3]],
}
NUM_CLASSES = {"binary": 2, "multiclass": 4, "multilabel": 4}


def _targets(name: str, labels: list[list[int]]) -> dict[str, np.ndarray]:
    table = pa.table({"labels": pa.array(labels, pa.list_(pa.int32()))})
    read = get_task(name).open_targets(table, (8, 8), NUM_CLASSES[name])
    return read(np.arange(len(labels)))


def _case(name: str):
    task, num_classes = get_task(name), NUM_CLASSES[name]
    targets = _targets(name, LABELS[name])
    logits = np.random.default_rng(0).normal(0, 3, (4, num_classes)).astype(np.float32)
    return task, targets, logits


def _expected_losses(name: str, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    if name != "multilabel":
        classes = list(range(probabilities.shape[1]))
        rows = zip(targets, probabilities, strict=True)
        return np.array([log_loss([label], [row], labels=classes) for label, row in rows])
    return np.array(
        [
            np.mean([log_loss([y], [[1 - p, p]], labels=[0, 1]) for y, p in zip(*row, strict=True)])
            for row in zip(targets, probabilities, strict=True)
        ]
    )


@pytest.mark.parametrize("name", LABELS)
def test_loss_is_the_cross_entropy_of_the_activated_logits(name: str) -> None:
    task, targets, logits = _case(name)
    probabilities = np.asarray(task.decode(logits), np.float64)
    if name != "multilabel":
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    losses = np.asarray(task.loss(targets, keras.ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(
        losses, _expected_losses(name, targets["label"], probabilities), rtol=1e-4
    )


@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 1.0, 3.0]])
@pytest.mark.parametrize("name", LABELS)
def test_no_constant_answer_is_better_than_the_frequencies(name, weights) -> None:
    labels = [[0], [1], [1], [1]] if name != "multilabel" else LABELS[name]
    task, num_classes = get_task(name), NUM_CLASSES[name]
    targets = _targets(name, labels)
    weights = None if weights is None else np.array(weights[:num_classes], np.float32)

    def loss(constant: np.ndarray) -> float:
        logits = np.tile(constant, (4, 1)).astype(np.float32)
        return float(np.mean(task.loss(targets, logits, class_weights=weights)))

    found = scipy.optimize.minimize(loss, np.zeros(num_classes), method="Powell", tol=1e-9)
    assert task.frequency_loss(targets, weights) == pytest.approx(found.fun, abs=1e-3)


@pytest.mark.parametrize("name", LABELS)
def test_loss_of_zero_logits_is_the_initial_loss(name: str) -> None:
    task, targets, logits = _case(name)
    losses = np.asarray(task.loss(targets, keras.ops.convert_to_tensor(np.zeros_like(logits))))
    np.testing.assert_allclose(
        losses, task.initial_loss(targets, NUM_CLASSES[name]) * np.ones(4), rtol=1e-6
    )


@pytest.mark.parametrize("name", LABELS)
def test_smoothing_has_its_minimum_at_the_smoothed_label(name: str) -> None:
    task, targets, _ = _case(name)
    num_classes = NUM_CLASSES[name]
    label = targets["label"]
    one_hot = label if label.ndim == 2 else np.eye(num_classes)[label]
    if name == "multilabel":
        smoothed = 0.9 * one_hot + 0.1 / 2
        best = np.log(smoothed / (1 - smoothed))
    else:
        smoothed = 0.9 * one_hot + 0.1 / num_classes
        best = np.log(smoothed)

    def loss(logits: np.ndarray) -> np.ndarray:
        tensor = keras.ops.convert_to_tensor(logits.astype(np.float32))
        return np.asarray(task.loss(targets, tensor, label_smoothing=0.1))

    nudge = np.zeros_like(best)
    nudge[:, 0] = 0.3
    assert np.all(loss(best) < loss(best + nudge))
    assert np.all(loss(best) < loss(best - nudge))


@pytest.mark.parametrize("name", LABELS)
def test_huge_logits_stay_finite(name: str) -> None:
    task, targets, logits = _case(name)
    losses = np.asarray(task.loss(targets, keras.ops.convert_to_tensor(np.sign(logits) * 1e4)))
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("labels", [[[0], []], [[0, 1], [1]]])
def test_a_single_label_task_refuses_none_and_several(labels: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="must have one label"):
        _targets("multiclass", labels)


def test_targets_of_a_batch_are_those_of_its_rows() -> None:
    chunks = [LABELS["multilabel"], LABELS["multilabel"][::-1]]
    table = pa.table({"labels": pa.chunked_array(chunks, pa.list_(pa.int32()))})
    read = get_task("multilabel").open_targets(table, (8, 8), 4)
    rows = np.array([[7, 1, 0], [3, 2, 4]])
    labels = sum(chunks, [])
    expected = [[[c in labels[row] for c in range(4)] for row in part] for part in rows]
    np.testing.assert_array_equal(read(rows)["label"], expected)
    assert read(rows[:, 1:2])["label"].shape == (2, 1, 4)
    assert not read(np.array([1, 6]))["label"].any()


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"must be one of .*multilabel.*Received: 'depth'"):
        get_task("depth")
