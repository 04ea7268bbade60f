"""Which held-out images choose, and which confirm."""

from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.labelled import LabelledImages, open_labelled
from kfp_vision.components.shared.search.held_out import divide_held_out, stratified_order
from kfp_vision.components.shared.tasks import task_of

_KNOWN = np.arange(0, 1000, 4)


@pytest.fixture(scope="module")
def splits(digits_dir: Path) -> tuple[LabelledImages, LabelledImages]:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    task = task_of(info)
    validation, train = (
        open_labelled(digits_dir, split, (16, 16, 1), task, 10) for split in ("validation", "train")
    )
    return validation, train


@pytest.mark.parametrize(
    ("selecting", "confirming"), [(384, 666), (100, 200), (0, 0), (64, 0), (1050, 0), (525, 525)]
)
def test_the_parts_have_no_image_in_common_with_each_other_nor_with_what_is_learned(
    splits: tuple[LabelledImages, LabelledImages], selecting: int, confirming: int
) -> None:
    validation, train = splits
    held_out = divide_held_out(validation, train, _KNOWN, selecting, confirming)
    chosen, last = held_out.selecting(selecting), held_out.confirming
    assert sum(map(len, chosen)) == selecting
    assert sum(map(len, last)) == confirming
    # Whatever else looks at images to choose by.
    everything = held_out.selecting(10**6)
    assert sum(map(len, everything)) == 300 + 750 - confirming
    for looked, confirms, size in zip(everything, last, (300, 1000), strict=True):
        assert not set(looked) & set(confirms)
        assert set(looked) | set(confirms) <= set(range(size))
    assert not (set(everything[1]) | set(last[1])) & set(_KNOWN)
    assert all((np.diff(rows) > 0).all() for rows in (*chosen, *last, *everything))
    again = divide_held_out(validation, train, _KNOWN, selecting, confirming)
    np.testing.assert_array_equal(again.confirming[0], last[0])


def test_validation_images_are_shared_out_and_classes_have_their_shares_in_both(
    splits: tuple[LabelledImages, LabelledImages],
) -> None:
    validation, train = splits
    held_out = divide_held_out(validation, train, _KNOWN, 350, 700)
    parts = held_out.selecting(350), held_out.confirming
    assert [len(rows[0]) for rows in parts] == [100, 200]
    for rows in parts:
        for split, chosen in zip((validation, train), rows, strict=True):
            labels = split.read_targets(np.arange(len(split)))["label"]
            counts = np.bincount(labels[chosen], minlength=10)
            unseen = np.setdiff1d(np.arange(len(labels)), _KNOWN if split is train else [])
            shares = np.bincount(labels[unseen], minlength=10) * len(chosen) / len(unseen)
            assert np.abs(counts - shares).max() < 2
    # With enough of them nothing but validation images is looked at.
    few = divide_held_out(validation, train, _KNOWN, 50, 150)
    assert [len(rows) for rows in (*few.selecting(50), *few.confirming)] == [50, 0, 150, 0]


@pytest.mark.parametrize("sizes", [[70, 30], [5, 500, 1], [1] * 40, [], [3]])
def test_every_beginning_of_the_order_is_stratified(sizes: list[int]) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    order = stratified_order(strata)
    assert sorted(order) == list(range(len(strata)))
    for end in range(1, len(strata)):
        counts = np.bincount(strata[order[:end]], minlength=len(sizes))
        assert np.abs(counts - end * np.array(sizes) / sum(sizes)).max() < 1.5
