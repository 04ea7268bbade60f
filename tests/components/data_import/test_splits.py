"""Made splits keep the class shares, the groups and the promise of the seed."""

import numpy as np
import pytest

from kfp_vision.components.data_import.made_splits import keep_splits
from kfp_vision.components.data_import.splits import draw_splits, strata

FRACTIONS = {"test": 0.1, "validation": 0.1}


def test_every_class_gives_its_share():
    stratum = np.repeat([0, 1, 2], [1000, 100, 30])
    splits = draw_splits(stratum, np.arange(1130), FRACTIONS, seed=3)
    for name in FRACTIONS:
        assert np.bincount(stratum[splits == name]).tolist() == [100, 10, 3]


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided_and_shares_stay_close(seed):
    random = np.random.default_rng(seed)
    group = random.integers(0, 400, 2000)
    stratum = group % 4
    splits = draw_splits(stratum, group, FRACTIONS, seed)
    assert all(len(set(splits[group == number])) == 1 for number in np.unique(group))
    for label in range(4):
        shares = [(splits[stratum == label] == name).mean() for name in FRACTIONS]
        # A split ends at most half a group off; the largest groups here have 15 of 500.
        np.testing.assert_allclose(shares, 0.1, atol=0.016)


@pytest.mark.parametrize(
    ("sizes", "made"),
    [
        ([1, 2], 0),  # Two groups cannot give three splits.
        ([1, 1, 2], 2),
        ([1, 1, 50], 2),
        ([50, 50, 51], 2),
        ([1, 90, 1, 5], 2),
    ],
)
def test_small_classes_leave_the_largest_group_in_train(sizes, made):
    group = np.repeat(np.arange(len(sizes)), sizes)
    splits = draw_splits(np.zeros(len(group), int), group, FRACTIONS, seed=0)
    assert len(set(splits)) == made + 1
    assert splits[group == int(np.argmax(sizes))][0] == "train"


def test_the_seed_decides():
    stratum, group = np.zeros(200, int), np.arange(200)
    first, again, other = (draw_splits(stratum, group, FRACTIONS, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_an_image_belongs_to_the_stratum_of_its_rarest_class():
    label_sets = [("sky",), ("sky", "bike"), ()]
    rows = np.array([0, 0, 0, 1, 2])
    stratum = strata(label_sets, rows)
    assert stratum[3] not in stratum[:3]
    assert stratum[4] == -1


@pytest.mark.parametrize(
    ("strata_sizes", "held_out"),
    [
        ([3] * 500, {"test": 250, "validation": 250}),
        ([4] * 7, {"test": 4, "validation": 3}),
        ([100, 100, *[3] * 10], {"test": 25, "validation": 25}),
        ([7] * 4, {"test": 2, "validation": 2}),
        ([8] * 4, {"test": 4, "validation": 4}),
        # Each split needs two classes to say anything.
        ([3, 3], {"test": 2, "validation": 2}),
        ([100, 3, 3], {"test": 11, "validation": 11}),
    ],
)
def test_small_classes_are_in_one_held_out_split_only(strata_sizes, held_out):
    stratum = np.repeat(np.arange(len(strata_sizes)), strata_sizes)
    splits = draw_splits(stratum, np.arange(len(stratum)), FRACTIONS, seed=0)
    assert {name: int((splits == name).sum()) for name in FRACTIONS} == held_out
    assert all((splits[stratum == label] == "train").any() for label in set(stratum.tolist()))


@pytest.mark.parametrize("sizes", [[3] * 500, [4] * 7, [7] * 4])
def test_no_class_of_few_images_loses_two(sizes):
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    splits = draw_splits(stratum, np.arange(len(stratum)), FRACTIONS, seed=1)
    for label in range(len(sizes)):
        assert (splits[stratum == label] != "train").sum() == 1


def test_one_split_alone_takes_its_share_of_small_classes():
    stratum = np.repeat(np.arange(50), 3)
    splits = draw_splits(stratum, np.arange(150), {"validation": 0.1}, seed=0)
    assert (splits == "validation").sum() == 50


@pytest.mark.parametrize("a_night", [1, 3, 40])
@pytest.mark.parametrize("first", [3, 60])
def test_images_that_come_a_few_at_a_time_reach_every_split(first, a_night):
    """Two classes, the second of which gets one image for five of the first."""
    kept = np.array([], "<U10")
    for total in range(first, 601, a_night):
        stratum = np.where(np.arange(total) % 6 < 5, 0, 1)
        before = np.append(kept, np.full(total - len(kept), "", "<U10"))
        kept = draw_splits(stratum, np.arange(total), FRACTIONS, total, before)
        assert (kept[before != ""] == before[before != ""]).all()
        for label in (0, 1):
            counts = {name: int((kept[stratum == label] == name).sum()) for name in FRACTIONS}
            images = int((stratum == label).sum())
            assert max(counts.values()) <= max(1, round(0.1 * images))
            # One of two splits may be an image behind where one image comes.
            assert min(counts.values()) >= round(0.1 * images) - 1
            assert "train" in kept[stratum == label] or not images
    for label, images in ((0, kept[stratum == 0]), (1, kept[stratum == 1])):
        shares = [(images == name).mean() for name in FRACTIONS]
        np.testing.assert_allclose(shares, 0.1, atol=1.5 / len(images), err_msg=str(label))


def test_a_large_group_that_comes_later_stays_in_train():
    kept = np.repeat(["train", "test", "validation", ""], [85, 10, 10, 40])
    group = np.append(np.arange(105), np.full(40, 105))
    # Each split lacks 4 or 5 images: a film of 40 is further from it than nothing.
    splits = draw_splits(np.zeros(145, int), group, FRACTIONS, 0, kept)
    assert set(splits[105:]) == {"train"}


def test_a_class_whose_known_images_are_all_held_out_gets_its_training_images():
    kept = np.array(["test", "test", "validation", "", ""])
    splits = draw_splits(np.zeros(5, int), np.arange(5), FRACTIONS, 0, kept)
    assert splits.tolist() == ["test", "test", "validation", "train", "train"]


TRAIN, VALIDATION, TEST = "train", "validation", "test"


@pytest.mark.parametrize(
    ("before", "groups", "kept"),
    [
        # Who is alone keeps its split, or is new.
        ([TRAIN, VALIDATION, TEST, ""], [0, 1, 2, 3], [TRAIN, VALIDATION, TEST, ""]),
        # A new near duplicate joins, those in test first; known ones stay where they are.
        (["", TEST], [0, 0], [TEST, TEST]),
        (["", TEST, VALIDATION], [0, 0, 0], [TEST, TEST, VALIDATION]),
        (["", TEST, TRAIN], [0, 0, 0], [TEST, TEST, TRAIN]),
        (["", VALIDATION, TRAIN], [0, 0, 0], [VALIDATION, VALIDATION, TRAIN]),
        (["", "", TRAIN, TEST], [5, 7, 7, 9], ["", TRAIN, TRAIN, TEST]),
    ],
)
def test_known_images_stay_and_near_duplicates_join_them(before, groups, kept):
    found = keep_splits(np.array(before, "<U10"), np.array(groups), [TRAIN, VALIDATION, TEST])
    assert found.tolist() == kept


def test_an_image_of_a_split_that_the_source_gives_now_is_in_train():
    before = np.array([TEST, VALIDATION, ""], "<U10")
    assert keep_splits(before, np.array([0, 1, 1]), [TRAIN, TEST]).tolist() == [TEST, TRAIN, TRAIN]
