"""Which images without labels are learned: no copies of held-out ones, none that are foreign."""

import numpy as np
import pytest

from kfp_vision.components.self_training.filtering import filter_images
from kfp_vision.components.self_training.noisy_student import NOISY_STUDENT, balance
from kfp_vision.components.self_training.stage_report import self_training_report
from kfp_vision.components.self_training.student import soft_labels
from kfp_vision.components.shared.artifacts.self_training_result import (
    ForeignImage,
    SelfTrainingResult,
)
from kfp_vision.components.shared.datasets.near_duplicates import held_out_copies
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.report.page import render_page
from kfp_vision.components.shared.search.held_out import halves


def test_copies_of_validation_and_test_images_are_found_and_those_of_training_images_are_not():
    splits = {"train": 2, "validation": 1, "test": 2, "unlabeled": 4}
    groups = np.array([0, 1, 2, 3, 3, 0, 2, 3, 8])
    none, first = np.zeros(0, int), np.array([0])
    copies = held_out_copies(groups, splits, none)
    np.testing.assert_array_equal(copies, [False, True, True, False])
    # A training image that judges is held out, too.
    copies = held_out_copies(groups, splits, first)
    np.testing.assert_array_equal(copies, [True, True, True, False])


def test_the_splits_may_stand_in_any_order():
    groups = np.array([5, 6, 6, 7])
    copies = held_out_copies(groups, {"unlabeled": 2, "test": 1, "train": 1}, np.zeros(0, int))
    np.testing.assert_array_equal(copies, [False, True])


def test_images_beyond_the_distance_of_95_in_100_validation_images_are_foreign():
    alike = np.linspace(0.01, 1.0, 100)
    filtered = filter_images(np.zeros(4, bool), np.array([0.5, 0.95, 0.97, 1.5]), alike)
    assert filtered.limit == pytest.approx(0.96)
    np.testing.assert_array_equal(filtered.rows, [0, 1])
    np.testing.assert_array_equal(filtered.is_foreign, [False, False, True, True])


@pytest.mark.parametrize("few", [1, 2, 6, 20])
def test_of_few_validation_images_all_are_alike(few):
    alike = np.linspace(0.3, 0.1, few)
    filtered = filter_images(np.zeros(2, bool), np.array([0.3, 0.31]), alike)
    np.testing.assert_array_equal(filtered.rows, [0])
    assert (filtered.within, filtered.judges) == (few, few)


@pytest.mark.parametrize(
    ("judges", "within", "said"),
    [
        (6, 6, "beyond 0.96: all 6 validation images are within it."),
        (100, 96, "beyond 0.96: 96 of 100 validation images are within it."),
    ],
)
def test_the_report_says_how_many_validation_images_are_within_the_limit(judges, within, said):
    alike = np.concatenate([np.full(within, 0.96), np.ones(judges - within)])
    filtered = filter_images(np.zeros(2, bool), np.array([0.5, 1.5]), alike)
    result = SelfTrainingResult(
        unlabeled=2,
        asked=2,
        foreign=1,
        foreign_distance=filtered.limit,
        foreign_judges=filtered.judges,
        foreign_within=filtered.within,
        foreign_images=[ForeignImage("a.png", 1.5, "data:,")],
        untried="no time was left for a student",
    )
    sections = self_training_report(result, is_wanted=False).sections
    assert said in render_page("", {}, Recipe(), sections)


def test_a_copy_is_counted_once_and_never_learned():
    filtered = filter_images(np.array([True, True, False]), np.array([0.0, 9.0, 0.0]), np.ones(9))
    assert filtered.is_copy.sum() == 2
    assert filtered.is_foreign.sum() == 0
    np.testing.assert_array_equal(filtered.rows, [2])


@pytest.mark.parametrize(("labelled", "repeats"), [(10, 5), (100, 1), (50, 1), (25, 2)])
def test_a_fifth_of_a_lesson_has_labels_or_every_image_is_there_once(labelled, repeats):
    lesson = soft_labels(
        np.zeros((200, 4)), np.arange(labelled), labelled, np.arange(100, 300), NOISY_STUDENT
    )
    has_label = lesson.rows < labelled
    assert has_label.sum() == repeats * labelled
    assert len(lesson.rows) == repeats * labelled + 200
    np.testing.assert_array_equal(
        np.unique(lesson.rows[~has_label]), labelled + np.arange(100, 300)
    )


def test_what_is_taught_is_what_was_judged_of_the_images_that_are_left():
    outputs = np.random.default_rng(0).normal(0, 3, (2, 3))
    lesson = soft_labels(outputs, np.arange(2), 2, np.array([4, 1]), NOISY_STUDENT)
    np.testing.assert_array_equal(lesson.rows[lesson.rows >= 2], [2 + 4, 2 + 1])
    taught = lesson.outputs[lesson.rows >= 2]
    np.testing.assert_allclose(taught, outputs, rtol=1e-3)
    huge = soft_labels(np.full((1, 3), 1e9), np.arange(1), 1, np.zeros(1, int), NOISY_STUDENT)
    assert np.isfinite(huge.outputs).all()


@pytest.mark.parametrize("sizes", [[18] * 10, [7, 3, 2], [40, 1]])
def test_both_halves_of_the_labels_have_half_of_every_class(sizes):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    first, second = halves(strata)
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(sum(sizes)))
    counts = (np.bincount(strata[half], minlength=len(sizes)) for half in (first, second))
    assert np.abs(np.subtract(*counts)).max() <= 1


def test_balanced_labels_have_the_shares_of_the_labels_and_a_right_model_is_left_alone():
    generator = np.random.default_rng(0)
    said = generator.dirichlet([1.0, 1.0, 4.0], 4000)
    shares = np.array([0.5, 0.3, 0.2])
    rows = np.arange(1000, 4000)
    balanced = balance(said, shares, rows, None)
    np.testing.assert_allclose(balanced.sum(axis=1), 1.0)
    before, after = (np.abs(each[rows].mean(axis=0) - shares).sum() for each in (said, balanced))
    assert after < before / 2
    right = balance(said, said[rows].mean(axis=0), rows, None)
    np.testing.assert_allclose(right, said, rtol=1e-9)


def test_what_class_weights_do_to_a_right_model_stays_in_its_labels():
    # Two classes of 10 to 1 that overlap, and what a model says that was trained with weights.
    generator = np.random.default_rng(0)
    rare = generator.random(50_000) < 1 / 11
    evidence = generator.normal(np.where(rare, 0.75, -0.75)) * 1.5
    odds = 0.1 * np.exp(evidence)
    natural = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    weights = np.array([0.55, 5.5])
    said = natural * weights / (natural @ weights)[:, None]
    every, shares = np.arange(len(said)), np.array([10, 1]) / 11
    np.testing.assert_allclose(balance(said, shares, every, weights), said, atol=0.01)
    # By the shares of the images as they are, rare classes would be said less often.
    assert np.abs(balance(said, shares, every, None) - said).max() > 0.1
