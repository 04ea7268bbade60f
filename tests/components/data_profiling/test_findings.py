"""Every finding on a set in which it was planted, and on one without faults none."""

from collections.abc import Sequence

import numpy as np
import pytest

from kfp_vision.components.data_profiling.duplicates import label_keys
from kfp_vision.components.data_profiling.findings import RULES, not_accepted
from kfp_vision.components.data_profiling.measurements import Measurements
from kfp_vision.components.shared.artifacts import Finding

SPLITS = {"train": 400, "validation": 200, "test": 200}
FIRST = {"train": 0, "validation": 400, "test": 600}


def measurements(
    *,
    splits: dict[str, int] = SPLITS,
    labels: Sequence[Sequence[int]] | None = None,
    num_classes: int = 2,
    exact: dict[int, int] | None = None,
    near: dict[int, int] | None = None,
    flat: Sequence[int] = (),
    rejected: dict[str, int] | None = None,
) -> Measurements:
    """A set of distinct images with alternating labels, and in it what the arguments plant."""
    total = sum(splits.values())
    labels = labels or [[row % num_classes] for row in range(total)]
    split = np.repeat(list(splits), list(splits.values()))
    groups = np.arange(total)
    for row, first in (exact or {}).items():
        groups[row] = first
    near_groups = groups.copy()
    for row, first in (near or {}).items():
        near_groups[row] = first
    signatures = np.random.default_rng(0).integers(0, 256, (total, 64), np.uint8)
    signatures[list(flat)] = 7
    starts = np.cumsum([0, *map(len, labels)])
    values = np.array([label for row in labels for label in row], np.int32)
    owner = np.repeat(np.arange(total), np.diff(starts))
    return Measurements(
        classes=[f"class {index}" for index in range(num_classes)],
        counts={
            name: np.bincount(values[split[owner] == name], minlength=num_classes)
            for name in splits
            if name != "unlabeled"
        },
        split=split,
        exact=groups,
        near=near_groups,
        keys=label_keys(values, starts),
        signatures=signatures,
        rejected=rejected or {},
        rejected_paths=["a.png"] if rejected else [],
    )


def labels_with(changed: dict[int, list[int]]) -> list[list[int]]:
    return [changed.get(row, [row % 2]) for row in range(sum(SPLITS.values()))]


test_row, validation_row = FIRST["test"], FIRST["validation"]
copied_into_test = {test_row + index: index for index in range(0, 6, 2)}

PLANTED = [
    ("leakage_exact", {"exact": copied_into_test}, "fail", 3),
    ("leakage_exact", {"exact": {test_row: 0}}, "warn", 1),
    ("leakage_exact", {"exact": {validation_row: 0, test_row: 0}}, "warn", 2),
    ("leakage_near", {"near": copied_into_test}, "warn", 3),
    ("duplicates_exact", {"exact": {2: 0, 4: 0, 9: 7}}, "warn", 3),
    ("duplicates_near", {"near": {2: 0, 4: 0}}, "warn", 2),
    ("conflicting_labels", {"exact": {3: 0}}, "warn", 2),
    ("unreadable_files", {"rejected": {"truncated": 3, "not_an_image": 2}}, "warn", 5),
    ("unreadable_files", {"rejected": {"truncated": 801}}, "fail", 801),
    ("one_class", {"labels": [[0]] * 800}, "fail", 1),
    ("one_class", {"labels": [[0, 1]] * 800}, "fail", 2),
    ("one_class", {"labels": [[]] * 800}, "fail", 0),
    ("empty_class", {"num_classes": 3, "labels": labels_with({})}, "warn", 1),
    ("class_not_in_train", {"num_classes": 3, "labels": labels_with({600: [2]})}, "warn", 1),
    (
        "class_not_in_train",
        {"num_classes": 3, "labels": labels_with({row: [2] for row in range(600, 610)})},
        "fail",
        1,
    ),
    ("class_not_in_test", {"num_classes": 3, "labels": labels_with({0: [2]})}, "warn", 1),
    (
        "few_images",
        {"num_classes": 3, "labels": labels_with({row: [2] for row in range(9)})},
        "warn",
        1,
    ),
    ("constant_images", {"flat": [5, 17]}, "warn", 2),
    ("imbalance", {"labels": labels_with({row: [0] for row in range(300)})}, "warn", 2),
    ("small_set", {"splits": {"train": 400, "validation": 20, "test": 200}}, "warn", 20),
]


def test_every_rule_is_planted() -> None:
    assert {code for code, *_ in PLANTED} == set(RULES)


def test_a_set_without_faults_has_no_finding() -> None:
    measured = measurements()
    assert [code for code, rule in RULES.items() if rule(measured)] == []


@pytest.mark.parametrize(("code", "fault", "level", "count"), PLANTED)
def test_a_planted_fault_is_found(code: str, fault: dict, level: str, count: int) -> None:
    observed = RULES[code](measurements(**fault))
    assert (observed.level, observed.count) == (level, count)
    assert len(observed.rows) <= 8
    assert observed.message.endswith(".")


def test_leakage_shows_each_copy_beside_its_original() -> None:
    observed = RULES["leakage_exact"](measurements(exact=copied_into_test))
    assert observed.rows.tolist() == [600, 0, 602, 2, 604, 4]


def test_exact_copies_are_not_reported_again_as_near_ones() -> None:
    measured = measurements(exact={**copied_into_test, 6: 4})
    assert RULES["leakage_near"](measured) is None
    assert RULES["duplicates_near"](measured) is None


def test_unlabelled_copies_are_neither_leakage_nor_conflict() -> None:
    splits = {**SPLITS, "unlabeled": 1}
    labels = [*labels_with({}), []]
    measured = measurements(splits=splits, labels=labels, exact={800: 600})
    assert RULES["leakage_exact"](measured) is None
    assert RULES["conflicting_labels"](measured) is None


def finding(code: str, level: str) -> Finding:
    return Finding(code, level, "A sentence.", 1, [])


@pytest.mark.parametrize(
    ("accept", "stopping"),
    [
        ([], ["leakage_exact", "one_class"]),
        (["leakage_exact"], ["one_class"]),
        (["leakage_exact", "one_class"], []),
        (["imbalance"], ["leakage_exact", "one_class"]),
    ],
)
def test_only_accepted_failures_pass(accept: list[str], stopping: list[str]) -> None:
    findings = [
        finding("leakage_exact", "fail"),
        finding("one_class", "fail"),
        finding("imbalance", "warn"),
    ]
    assert [left.code for left in not_accepted(findings, accept)] == stopping


def test_a_misspelt_code_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Received: \['leakage'\]"):
        not_accepted([], ["leakage"])
