"""Every finding on a set in which it was planted, and on one without faults none."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from kfp_vision.components.data_profiling.duplicates import label_keys
from kfp_vision.components.data_profiling.findings import RULES, find, not_accepted, split_codes
from kfp_vision.components.data_profiling.measurements import Measurements
from kfp_vision.components.data_profiling.objects import Objects
from kfp_vision.components.shared.artifacts.data_profile import Finding

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
    unlabeled_uri: str = "",
    origin: str = "given",
    one_class: bool = True,
    primary: str = "accuracy",
    objects: Objects | None = None,
    objects_clipped: int = 0,
    objects_left_out: dict[str, int] | None = None,
    is_spatial: bool = False,
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
        is_spatial=is_spatial,
        classes=[f"class {index}" for index in range(num_classes)],
        counts={
            name: np.bincount(values[split[owner] == name], minlength=num_classes)
            for name in splits
            if name != "unlabeled"
        },
        origin=dict.fromkeys(splits, origin),
        one_class=one_class,
        primary=primary,
        split=split,
        exact=groups,
        near=near_groups,
        keys=label_keys(values, starts),
        signatures=signatures,
        rejected=rejected or {},
        rejected_paths=["a.png"] if rejected else [],
        unlabeled_uri=unlabeled_uri,
        objects=objects,
        objects_clipped=objects_clipped,
        objects_left_out=objects_left_out or {},
    )


test_row, validation_row = FIRST["test"], FIRST["validation"]


def boxed(*found: tuple[int, float, float]) -> dict[str, Any]:
    """Returns objects of one image; each is a class, and the left and right side of 100 px."""
    boxes = np.array([[left, 0, right, 100] for _, left, right in found], np.float32)
    areas = (boxes[:, 2] - boxes[:, 0]) * 100.0
    classes = np.array([label for label, *_ in found], np.int32)
    count = len(found)
    image, split, crowd = np.full(count, 7), np.full(count, "train"), np.zeros(count, bool)
    return {"objects": Objects(image, split, boxes, classes, crowd, areas, False, None)}


def crowded(train: int, test: int) -> dict[str, Any]:
    """Returns so many objects of an image of each of the two splits."""
    held: Objects = boxed(*[(0, 0, 90)] * (train + test))["objects"]
    split, image = (
        np.repeat(["train", "test"], [train, test]),
        np.repeat([0, test_row], [train, test]),
    )
    return {"objects": dataclasses.replace(held, split=split, image=image)}


def sized(validation: int = 200, test: int = 200) -> dict[str, int]:
    return {"train": 400, "validation": validation, "test": test}


def with_split_labels(split: str, labels: list[int]) -> list[list[int]]:
    """Returns alternating labels, but in one split the same ones for every image."""
    rows = range(FIRST[split], FIRST[split] + SPLITS[split])
    return labels_with(dict.fromkeys(rows, labels))


def labels_with(changed: dict[int, list[int]]) -> list[list[int]]:
    return [changed.get(row, [row % 2]) for row in range(sum(SPLITS.values()))]


copied_into_test = {test_row + index: index for index in range(0, 6, 2)}

PLANTED: list[tuple[str, dict[str, Any], str, int]] = [
    ("leakage_exact", {"exact": copied_into_test}, "fail", 3),
    ("leakage_exact", {"exact": {test_row: 0}}, "warn", 1),
    ("leakage_exact", {"exact": {validation_row: 0, test_row: 0}}, "warn", 2),
    ("leakage_near", {"near": copied_into_test}, "warn", 3),
    ("duplicates_exact", {"exact": {2: 0, 4: 0, 9: 7}}, "warn", 3),
    ("duplicates_near", {"near": {2: 0, 4: 0}}, "warn", 2),
    ("conflicting_labels", {"exact": {3: 0}}, "warn", 2),
    ("unreadable_files", {"rejected": {"truncated": 3, "not_an_image": 2}}, "warn", 5),
    ("unreadable_files", {"rejected": {"truncated": 801}}, "fail", 801),
    # As many hidden files as a Mac packs, or masks beside the images, cost no image.
    ("unreadable_files", {"rejected": {"hidden": 802, "mask": 801, "truncated": 1}}, "warn", 1604),
    ("unreadable_files", {"rejected": {"duplicate_row": 900, "truncated": 799}}, "warn", 1699),
    ("unreadable_files", {"rejected": {"hidden": 802, "missing_file": 801}}, "fail", 1603),
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
    ("missing_split", {"splits": {"train": 400, "validation": 200}}, "fail", 1),
    ("missing_split", {"splits": {"train": 4}}, "fail", 2),
    ("test_one_class", {"labels": with_split_labels("test", [1])}, "fail", 200),
    ("test_one_class", {"labels": with_split_labels("test", [])}, "fail", 200),
    ("validation_one_class", {"labels": with_split_labels("validation", [0])}, "fail", 200),
    ("test_too_small", {"splits": sized(test=1)}, "fail", 1),
    ("test_too_small", {"splits": sized(test=2)}, "fail", 2),
    ("test_too_small", {"splits": sized(test=2), "primary": "balanced_accuracy"}, "fail", 2),
    (
        "test_too_small",
        {"labels": [[0, 1] if row % 2 else [0] for row in range(602)], "splits": sized(test=2)}
        | {"one_class": False, "primary": "mean_average_precision"},
        "fail",
        2,
    ),
    ("validation_too_small", {"splits": sized(validation=1)}, "fail", 1),
    ("validation_too_small", {"splits": sized(validation=2)}, "fail", 2),
    ("validation_too_small", {"splits": sized(validation=2), "origin": "made"}, "warn", 2),
    ("identical_images", {"exact": dict.fromkeys(range(400), 0)}, "fail", 400),
    ("few_distinct_images", {"near": dict.fromkeys(range(600, 800), 600)}, "fail", 1),
    ("few_distinct_images", {"near": {r: 400 + r % 2 for r in range(400, 600)}}, "warn", 1),
    (
        "label_in_every_image",
        {"one_class": False, "labels": [[0, row % 2] if row % 2 else [0] for row in range(800)]},
        "warn",
        1,
    ),
    (
        "label_in_every_image",
        {"one_class": False, "labels": [[0]] * 200 + [[0, 1]] * 200 + [[1], [0]] * 200},
        "fail",
        1,
    ),
    ("class_not_in_test", {"labels": with_split_labels("test", [1])}, "fail", 1),
    ("class_not_in_validation", {"labels": with_split_labels("validation", [1])}, "fail", 1),
    (
        "class_not_in_validation",
        {"labels": with_split_labels("validation", [1]), "origin": "made"},
        "warn",
        1,
    ),
    ("constant_images", {"flat": range(401)}, "fail", 401),
    ("conflicting_labels", {"exact": {row: row - 1 for row in range(1, 90, 2)}}, "fail", 90),
    ("class_not_in_test", {"num_classes": 3, "labels": labels_with({0: [2]})}, "warn", 1),
    (
        "few_images",
        {"num_classes": 3, "labels": labels_with({row: [2] for row in range(9)})},
        "warn",
        1,
    ),
    ("constant_images", {"flat": [5, 17]}, "warn", 2),
    ("imbalance", {"labels": labels_with({row: [0] for row in range(300)})}, "warn", 2),
    ("objects_of_two_classes", boxed((0, 0, 90), (1, 0, 100), (1, 50, 100)), "warn", 1),
    ("objects_twice", boxed((0, 0, 90), (0, 0, 100), (1, 50, 100)), "warn", 1),
    ("tiny_objects", boxed((0, 0, 0.05), (0, 0, 100)), "warn", 1),
    ("objects_clipped", boxed(*[(0, 0, 90)] * 20) | {"objects_clipped": 1}, "warn", 1),
    ("objects_clipped", boxed(*[(0, 0, 90)] * 20) | {"objects_clipped": 7}, "fail", 7),
    # Of three splits, only training images have objects.
    ("no_objects", boxed((0, 0, 90)), "fail", 400),
    (
        "objects_left_out",
        boxed(*[(0, 0, 90)] * 4) | {"objects_left_out": {"no_area": 1}},
        "warn",
        1,
    ),
    (
        "objects_left_out",
        boxed(*[(0, 0, 90)] * 3) | {"objects_left_out": {"no_area": 1}},
        "fail",
        1,
    ),
    ("more_objects_than_found", boxed(*[(0, 0, 90)] * 1001), "warn", 1),
    # A model finds as many as training images show: what the test shows decides nothing.
    ("more_objects_than_found", crowded(train=3, test=101), "warn", 1),
    ("small_set", {"splits": {"train": 400, "validation": 20, "test": 200}}, "warn", 20),
    ("no_unlabeled_images", {"unlabeled_uri": "more"}, "warn", 1),
]


def test_images_without_labels_that_are_there_are_not_missed() -> None:
    splits, labels = {**SPLITS, "unlabeled": 1}, [*labels_with({}), []]
    measured = measurements(splits=splits, labels=labels, unlabeled_uri="more")
    assert RULES["no_unlabeled_images"](measured) is None


def test_every_rule_is_planted() -> None:
    assert {code for code, *_ in PLANTED} == set(RULES)


def test_a_set_without_faults_has_no_finding() -> None:
    measured = measurements()
    assert [code for code, rule in RULES.items() if rule(measured)] == []


@pytest.mark.parametrize(("code", "fault", "level", "count"), PLANTED)
def test_a_planted_fault_is_found(code: str, fault: dict[str, Any], level: str, count: int) -> None:
    observed = RULES[code](measurements(**fault))
    assert observed is not None
    assert (observed.level, observed.count) == (level, count)
    assert len(observed.rows) <= 8
    assert observed.message.endswith(".")
    if level == "fail":
        assert re.search(r"\b(Add|Remove|Check|[Cc]orrect|lists all)\b", observed.message)


def test_masks_of_the_same_classes_on_all_images_still_differ_in_where():
    same = measurements(labels=[[0, 1]] * sum(SPLITS.values()), one_class=False, is_spatial=True)
    no_images: Any = None
    assert not find(same, no_images, same.classes)


@pytest.mark.parametrize("is_spatial", [False, True])
def test_a_small_set_speaks_of_accuracy_where_there_is_one(is_spatial: bool) -> None:
    observed = RULES["small_set"](measurements(splits=sized(test=50), is_spatial=is_spatial))
    assert observed is not None
    assert ("accuracy" in observed.message) == (not is_spatial)


def test_leakage_shows_each_copy_beside_its_original() -> None:
    observed = RULES["leakage_exact"](measurements(exact=copied_into_test))
    assert observed is not None
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


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        # Where it can be told from a constant answer, the smallest set may be tried.
        ({"splits": sized(test=4)}, set()),
        ({"splits": sized(test=8)}, set()),
        ({"splits": sized(validation=4)}, set()),
        # Eight of nine are of one class: a perfect model is above 0.70, a constant one at 0.89.
        (
            {"splits": sized(test=9), "labels": [*labels_with({})[:600], *[[0]] * 8, [1]]},
            {"test_too_small"},
        ),
        ({"splits": sized(test=1)}, {"test_too_small", "class_not_in_test"}),
        ({"splits": sized(test=0)}, {"missing_split", "class_not_in_test"}),
    ],
)
def test_what_stops_before_training(fault: dict[str, Any], codes: set[str]) -> None:
    measured = measurements(**fault)
    observed = {code: rule(measured) for code, rule in RULES.items()}
    assert {code for code, seen in observed.items() if seen and seen.level == "fail"} == codes


@pytest.mark.parametrize("code", ["missing_split", "test_one_class", "test_too_small", "one_class"])
def test_what_no_model_can_pass_on_cannot_be_accepted(code: str) -> None:
    fault = next(fault for planted, fault, *_ in PLANTED if planted == code)
    observed = RULES[code](measurements(**fault))
    assert observed is not None
    assert not observed.acceptable


def finding(code: str, level: Literal["fail", "warn"]) -> Finding:
    acceptable = code != "one_class"
    return Finding(code, level, "A sentence.", 1, [], acceptable)


@pytest.mark.parametrize(
    ("accept", "stopping"),
    [
        ([], ["leakage_exact", "one_class"]),
        (["leakage_exact"], ["one_class"]),
        (["leakage_exact", "one_class"], ["one_class"]),
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
        split_codes("imbalance, leakage")
