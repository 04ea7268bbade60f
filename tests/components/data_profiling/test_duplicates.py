"""Copies, leakage and conflicts on sets small enough to see."""

import numpy as np
import pytest

from kfp_vision.components.data_profiling.duplicates import (
    conflicting_rows,
    copies,
    exact_groups,
    label_keys,
    leaked_rows,
    partners,
    within,
)

GROUPS = np.array([0, 1, 0, 1, 4, 0])


def test_equal_digests_are_one_group_and_one_byte_makes_two() -> None:
    digests = np.zeros((4, 32), np.uint8)
    digests[1, 31] = 1
    digests[2, 0] = 1
    assert exact_groups(digests).tolist() == [0, 1, 2, 0]


def test_copies_are_all_but_the_first() -> None:
    assert copies(GROUPS).tolist() == [2, 3, 5]


def test_leakage_needs_a_seen_copy() -> None:
    seen = np.array([True, False, False, False, True, False])
    assert leaked_rows(GROUPS, seen, ~seen).tolist() == [2, 5]


def test_partners_are_the_others_of_the_group() -> None:
    assert partners(GROUPS, 2, np.ones(6, bool)).tolist() == [0, 5]
    assert partners(GROUPS, 4, np.ones(6, bool)).tolist() == []


def test_groups_within_members_are_named_by_members() -> None:
    members = np.array([False, True, True, True, True, True])
    assert within(GROUPS, members).tolist() == [0, 1, 2, 1, 4, 2]


@pytest.mark.parametrize(
    ("left", "right", "is_equal"),
    [([1, 2], [2, 1], True), ([1], [1, 2], False), ([], [0], False), ([], [], True)],
)
def test_label_keys_are_of_sets(left: list[int], right: list[int], is_equal: bool) -> None:
    values = np.array([*left, *right], np.int32)
    starts = np.array([0, len(left), len(left) + len(right)])
    keys = label_keys(values, starts)
    assert (keys[0] == keys[1]) == is_equal


def test_conflicts_come_group_by_group() -> None:
    keys = np.array([7, 8, 7, 9, 7, 6], np.uint64)
    assert conflicting_rows(GROUPS, keys).tolist() == [0, 2, 5, 1, 3]
