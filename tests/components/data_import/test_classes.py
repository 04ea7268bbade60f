import pytest

from kfp_vision.components.data_import.classes import (
    check_are_classes,
    detect_task,
    sort_classes,
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["1.0", "0.3333", "0.0"], ["0.0", "0.3333", "1.0"]),
        (["10", "9", "cat"], ["10", "9", "cat"]),
        (["nan", "1", "0"], ["0", "1", "nan"]),
    ],
)
def test_numbers_are_ordered_by_value(names, expected):
    assert sort_classes(names) == expected


@pytest.mark.parametrize(
    ("label_sets", "task"),
    [
        ([("a",), ("b",)], "binary"),
        ([("a",), ("b",), ("c",)], "multiclass"),
        ([("a",), ("a", "b")], "multilabel"),
        ([("a",), ("b",), ()], "multilabel"),
    ],
)
def test_the_labels_make_the_task(label_sets, task):
    assert detect_task(label_sets, "auto") == task
    assert detect_task(label_sets, task) == task
    assert detect_task(label_sets, "multilabel") == "multilabel"


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_several_labels_are_not_one(task):
    with pytest.raises(ValueError, match="make it 'multilabel'"):
        detect_task([("a", "b"), ("a",)], task)


@pytest.mark.parametrize(
    "names",
    [[str(n) for n in range(500)], ["0.0", "0.5", "1.0"], [f"class {n}" for n in range(99)]],
)
def test_ids_grades_and_names_are_classes(names):
    check_are_classes(names)


def test_measurements_are_not_classes():
    with pytest.raises(ValueError, match="40 different numbers"):
        check_are_classes([str(n / 8) for n in range(40)])
