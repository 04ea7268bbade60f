"""Which images score a trial."""

import numpy as np
import pytest

from kfp_vision.components.trial_search.trial import held_out_rows

_KNOWN = np.arange(0, 40, 4)


@pytest.mark.parametrize(("count", "validation", "train"), [(12, 12, 0), (20, 20, 0), (35, 20, 15)])
def test_validation_images_score_first_and_then_what_no_trial_learns(
    count: int, validation: int, train: int
) -> None:
    rows = held_out_rows(20, 40, _KNOWN, count)
    assert [len(each) for each in rows] == [validation, train]
    assert all((np.diff(each) > 0).all() for each in rows)
    assert not set(rows[1]) & set(_KNOWN)


def test_no_more_images_score_than_there_are() -> None:
    rows = held_out_rows(20, 40, _KNOWN, 1000)
    assert list(rows[0]) == list(range(20))
    assert set(rows[1]) | set(_KNOWN) == set(range(40))


def test_few_of_many_images_are_not_the_first_ones() -> None:
    """The images lie in the order of their classes."""
    rows, _ = held_out_rows(1000, 40, _KNOWN, 50)
    assert 300 < rows.mean() < 700
