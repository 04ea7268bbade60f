"""The score forgives confidence and charges errors."""

from typing import Any

import numpy as np
import pytest

from kfp_vision.components.shared.metrics.acceptance import Gain, measure_gain
from kfp_vision.components.shared.search.scoring import calibrated_losses, scored_losses
from kfp_vision.components.shared.tasks import get_task

_HALVES = np.array_split(np.random.default_rng(1).permutation(2000), 2)


def _samples(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits of 2,000 images and labels that are drawn from their probabilities."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(2000, 5))
    if task == "multilabel":
        return logits, (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype("uint8")
    return logits, (logits + generator.gumbel(size=logits.shape)).argmax(1).astype("int32")


@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
@pytest.mark.parametrize("factor", [0.3, 5.0])
def test_a_wrong_temperature_costs_nothing(name: str, factor: float) -> None:
    task, (logits, labels) = get_task(name), _samples(name)
    targets = {"label": labels}
    raw = np.asarray(task.loss(targets, logits.astype(np.float32)))
    found = calibrated_losses(task, targets, factor * logits, _HALVES, None)
    # What it takes to fit the temperature is a thousandth of a nat.
    assert found.mean() == pytest.approx(raw.mean(), abs=3e-3)
    assert np.asarray(task.loss(targets, np.float32(factor * logits))).mean() > raw.mean() + 0.05


def test_an_image_has_no_part_in_its_own_temperature() -> None:
    task, (logits, labels) = get_task("multiclass"), _samples("multiclass")
    before = calibrated_losses(task, {"label": labels}, logits, _HALVES, None)
    changed = labels.copy()
    changed[_HALVES[0]] = 0
    after = calibrated_losses(task, {"label": changed}, logits, _HALVES, None)
    assert (before[_HALVES[1]] != after[_HALVES[1]]).mean() > 0.9
    kept = _HALVES[0][labels[_HALVES[0]] == 0]
    np.testing.assert_array_equal(before[kept], after[kept])


def test_what_undoes_the_class_weights_gains_nothing_where_the_trainings_have_them(
    imbalanced: Any,
) -> None:
    task = get_task("multiclass")

    def gain(class_weights: np.ndarray | None) -> Gain:
        before, after = (
            scored_losses(task, [({"label": imbalanced.labels}, logits)], class_weights)
            for logits in (imbalanced.weighted, imbalanced.natural)
        )
        return measure_gain(before[None], after[None])

    decided = [
        np.mean(
            [(logits.argmax(1) == imbalanced.labels)[imbalanced.labels == c].mean() for c in (0, 1)]
        )
        for logits in (imbalanced.weighted, imbalanced.natural)
    ]
    # One finds the rare class more often, and the other is right more often of all images.
    assert decided[0] > decided[1] + 0.1
    assert gain(None).is_accepted
    assert gain(imbalanced.class_weights).high < 0


def test_an_image_counts_by_its_class(imbalanced: Any) -> None:
    logits = np.zeros_like(imbalanced.natural)
    targets = {"label": imbalanced.labels}
    losses = scored_losses(get_task("multiclass"), [(targets, logits)], imbalanced.class_weights)
    expected = imbalanced.class_weights[imbalanced.labels] * np.log(2)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses.mean() == pytest.approx(np.log(2))
