"""Chunks cover every step once, and the time that steps wait for them is counted."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import from_recipe, resolve
from kfp_vision.components.shared.training.history import History, next_evaluation
from kfp_vision.components.shared.training.interval import _check_loss, wait_for_chunk
from kfp_vision.components.shared.training.sanity import DivergenceError


def _history() -> History:
    return History(from_recipe(resolve(Recipe(), {}, num_images=100)), 10, {})


def _slow(pauses: list[float]) -> Iterator[Any]:
    for pause in pauses:
        time.sleep(pause)
        yield (np.arange(1), pause, {})


def test_what_the_images_take_is_waiting_and_what_the_steps_take_is_not() -> None:
    history, began, pauses = _history(), time.monotonic(), [0.03, 0.0, 0.05]
    chunks = _slow(pauses)
    for pause in pauses:
        assert wait_for_chunk(chunks, history)[1] == pause
        time.sleep(0.1)
    assert 0.08 <= history.wait_seconds <= time.monotonic() - began - 0.3


def test_the_time_before_a_failure_is_counted() -> None:
    def broken() -> Iterator[Any]:
        time.sleep(0.01)
        raise OSError("the disk is gone")
        yield

    history = _history()
    with pytest.raises(OSError, match="the disk is gone"):
        wait_for_chunk(broken(), history)
    assert history.wait_seconds >= 0.01


@pytest.mark.parametrize("total", [1, 2, 19, 20, 21, 39, 40, 1234])
def test_some_twenty_evaluations_end_with_the_last_step(total: int) -> None:
    ends = [0]
    while ends[-1] < total:
        ends.append(next_evaluation(ends[-1], total, 20))
    assert ends[-1] == total
    assert ends == sorted(set(ends))
    assert min(total, 20) <= len(ends) - 1 <= 39
    assert all(next_evaluation(step, total, 20) in ends for step in range(total))


def test_one_image_of_a_rare_class_is_no_divergence() -> None:
    # Of a class that weighs 150 in a batch of 32: 15 nats more than the usual 0.7.
    losses = np.full(200, 0.7)
    losses[::40] += 15
    steps, rates = np.arange(200), np.full(200, 1e-3)
    usual = _check_loss(0.7, losses, 0.7, steps, rates)
    assert 0.7 < usual < 2
    with pytest.raises(DivergenceError, match="at step 19 "):
        _check_loss(0.7, np.r_[losses[:19], np.nan], 0.7, steps[:20], rates[:20])
    # A loss that has exploded is found within some steps.
    with pytest.raises(DivergenceError, match="below ten times its start"):
        _check_loss(0.7, np.full(20, 25.0), 0.7, steps[:20], rates[:20])
