"""The views of a lesson, and that a teacher sees them as the student does."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.distillation.lesson import MAX_VIEWS, ViewTeacher, list_views
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed, view_keys
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy, policy_tensors
from kfp_vision.components.shared.datasets.loader import ImageSource


def test_every_image_is_seen_once_before_any_is_seen_again() -> None:
    known = np.array([3, 5, 8, 9])
    rows, views = list_views(known, 10, seed=1)
    assert len(rows) == len(views) == 10
    for start in (0, 4):
        assert sorted(rows[start : start + 4]) == [3, 5, 8, 9]
    assert views.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert len({*zip(rows.tolist(), views.tolist(), strict=True)}) == 10
    again = list_views(known, 10, seed=1)
    np.testing.assert_array_equal(again[0], rows)
    assert (list_views(known, 10, seed=2)[0] != rows).any()


def test_an_image_has_a_limited_number_of_views() -> None:
    rows, views = list_views(np.arange(3), 1000, seed=0)
    assert len(rows) == 3 * MAX_VIEWS
    assert views.max() == MAX_VIEWS - 1


@pytest.fixture(scope="module")
def source(digits_dir: Path) -> ImageSource:
    return ImageSource(digits_dir, "train", (24, 24), 1)


def pixel_means() -> keras.Model:
    """Returns a model that says how bright each third of an image is."""
    inputs = keras.Input((24, 24, 1))
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(inputs)))


def mixing_policy() -> Policy:
    return Policy(always=flip_and_crop().always, mixing=Mixing(mixup_probability=1.0))


def test_what_is_said_is_of_the_view_whatever_the_batch_is(source: ImageSource) -> None:
    teacher = ViewTeacher(pixel_means(), source, mixing_policy(), seed=7)
    rows, views = (each.astype(np.int32) for each in (np.arange(40) % 10, np.arange(40) // 10))
    said = teacher(rows, views)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(teacher(rows[order], views[order]), said[order])
    np.testing.assert_array_equal(teacher(rows[:3], views[:3]), said[:3])
    # Another view of an image is another picture.
    assert (said[:10] != said[10:20]).any(axis=1).all()


def test_teacher_and_student_see_the_same_crops_and_flips(source: ImageSource) -> None:
    rows, views = np.arange(20, dtype=np.int32), np.full(20, 3, np.int32)
    keys = view_keys(draw_seed(7, 0)[0], tf.constant(rows), tf.constant(views))
    plain = policy_tensors(flip_and_crop())
    seen = augment(tf.constant(source.take(rows)), plain, keys).images
    expected = pixel_means()(seen).numpy()
    said = ViewTeacher(pixel_means(), source, mixing_policy(), seed=7)(rows, views)
    np.testing.assert_allclose(said, expected, rtol=1e-3, atol=0.1)


def test_a_lesson_is_asked_once(source: ImageSource, tmp_path: Path) -> None:
    teacher = ViewTeacher(pixel_means(), source, flip_and_crop(), seed=7)
    rows, views = list_views(np.arange(50), 120, seed=0)
    lesson = teacher.teach(rows, views, tmp_path)
    (kept,) = tmp_path.rglob("*.npy")
    written = kept.stat().st_mtime_ns
    again = ViewTeacher(pixel_means(), source, flip_and_crop(), seed=7)
    np.testing.assert_array_equal(again.teach(rows, views, tmp_path).outputs, lesson.outputs)
    assert kept.stat().st_mtime_ns == written
    # Another seed draws other views.
    other = ViewTeacher(pixel_means(), source, flip_and_crop(), seed=8)
    assert (other.teach(rows, views, tmp_path).outputs != lesson.outputs).any()
