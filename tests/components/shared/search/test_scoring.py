"""The score forgives confidence and charges errors."""

import numpy as np
import pytest

from kfp_vision.components.shared.search.scoring import calibrated_losses
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
    found = calibrated_losses(task, targets, factor * logits, _HALVES)
    # What it takes to fit the temperature is a thousandth of a nat.
    assert found.mean() == pytest.approx(raw.mean(), abs=3e-3)
    assert np.asarray(task.loss(targets, np.float32(factor * logits))).mean() > raw.mean() + 0.05


def test_an_image_has_no_part_in_its_own_temperature() -> None:
    task, (logits, labels) = get_task("multiclass"), _samples("multiclass")
    before = calibrated_losses(task, {"label": labels}, logits, _HALVES)
    changed = labels.copy()
    changed[_HALVES[0]] = 0
    after = calibrated_losses(task, {"label": changed}, logits, _HALVES)
    assert (before[_HALVES[1]] != after[_HALVES[1]]).mean() > 0.9
    kept = _HALVES[0][labels[_HALVES[0]] == 0]
    np.testing.assert_array_equal(before[kept], after[kept])
