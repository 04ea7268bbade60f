"""The steps that fit into a time."""

import math

import pytest

from kfp_vision.components.shared.training.length import (
    evaluations_within,
    steps_within,
)


def taken(steps, step_s, evaluation_s, evaluations):
    return steps * step_s + min(steps, evaluations) * evaluation_s


@pytest.mark.parametrize("seconds", [1.0, 10.0, 25.0, 100.0, 1000.0])
@pytest.mark.parametrize("evaluation_s", [0.0, 0.5, 5.0])
def test_steps_and_evaluations_end_in_time_and_use_it(seconds, evaluation_s):
    steps = steps_within(seconds, 0.1, evaluation_s, 20)
    if steps > 2:
        assert taken(steps, 0.1, evaluation_s, 20) <= seconds
        assert taken(steps + 1, 0.1, evaluation_s, 20) > 0.9 * seconds


@pytest.mark.parametrize("seconds", [-100.0, 0.0])
def test_without_time_the_training_is_the_shortest(seconds):
    assert steps_within(seconds, 0.1, 1.0, 20) == 2


def test_evaluations_take_a_tenth_of_the_time_at_most_but_for_the_least_of_them():
    assert evaluations_within(260.0, 1.0, 20) == 20
    assert evaluations_within(260.0, 5.0, 20) == 5
    assert evaluations_within(260.0, 100.0, 20) == 3
    assert evaluations_within(math.inf, 100.0, 20) == 20


def test_a_short_training_is_evaluated_at_its_end_alone_where_that_takes_long():
    assert evaluations_within(100.0, 5.0, 20) == 2
    assert evaluations_within(50.0, 20.0, 20) == 1
