"""The pictures of a lesson, and that a teacher sees them as the student does."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.distillation.features import PrincipalAxes
from kfp_vision.components.distillation.lesson import ViewTeacher, lesson_policy
from kfp_vision.components.distillation.pictures import (
    MAX_VIEWS,
    PictureImages,
    Pictures,
    list_pictures,
    take_pictures,
)
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed, view_keys
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy, policy_tensors
from kfp_vision.components.shared.datasets.loader import ImageSource

pytestmark = pytest.mark.long


def test_every_image_is_seen_alone_once_before_any_is_seen_again() -> None:
    known = np.array([3, 5, 8, 9])
    pictures = list_pictures(known, 10, seed=1)
    assert len(pictures) == 10
    for start in (0, 4):
        assert sorted(pictures.rows[start : start + 4]) == [3, 5, 8, 9]
    assert pictures.views.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert (pictures.shares[:4] == 1).all()
    assert (pictures.shares[4:] < 1).all()
    assert {*pictures.partners.tolist()} <= {*known.tolist()}
    assert list_pictures(known, 10, seed=1).tobytes() == pictures.tobytes()
    assert list_pictures(known, 10, seed=2).tobytes() != pictures.tobytes()
    assert pictures.first(3).rows.tolist() == pictures.rows[:3].tolist()


def test_an_image_that_is_listed_more_often_is_seen_in_more_views() -> None:
    pictures = list_pictures(np.array([0, 0, 0, 1, 2]), 20, seed=1)
    seen = [pictures.views[pictures.rows == row] for row in range(3)]
    assert [each.tolist() for each in seen] == [[*range(12)], [*range(4)], [*range(4)]]
    np.testing.assert_array_equal(pictures.shares == 1, pictures.views == 0)


def test_an_image_has_a_limited_number_of_views() -> None:
    pictures = list_pictures(np.arange(3), 1000, seed=0)
    assert len(pictures) == 3 * MAX_VIEWS
    assert pictures.views.max() == MAX_VIEWS - 1


@pytest.fixture(scope="module")
def source(digits_dir: Path) -> ImageSource:
    return ImageSource(digits_dir, "train", (24, 24), 1)


def test_a_mix_is_the_mean_of_two_images_by_their_shares(source: ImageSource) -> None:
    rows, partners = np.array([4, 7], np.int32), np.array([9, 2], np.int32)
    pictures = Pictures(
        rows, np.array([0, 1], np.int32), partners, np.array([1.0, 0.25], np.float32)
    )
    expected = 0.25 * source.take(rows[1:]) + 0.75 * source.take(partners[1:])
    pixels = take_pictures(source, pictures, np.array([[1], [0]]))
    assert pixels.shape == (2, 1, 24, 24, 1)
    np.testing.assert_allclose(pixels[0], expected, atol=0.5)
    np.testing.assert_array_equal(pixels[1], source.take(rows[:1]))
    images = PictureImages(source, lambda _: {}, rows, pictures=pictures)
    assert len(images) == 2
    np.testing.assert_array_equal(images.take(np.array([[1], [0]]))[0], pixels)


def pixel_means() -> keras.Model:
    """Returns a model that says how bright each ninth of an image is."""
    inputs = keras.Input((24, 24, 1))
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(inputs)))


def teacher_of(source: ImageSource, seed: int) -> ViewTeacher:
    # The pictures are mixes: they must not be mixed again.
    policy = Policy(always=flip_and_crop().always, mixing=Mixing(mixup_probability=1.0))
    return ViewTeacher(pixel_means(), source, lesson_policy(policy), seed)


def test_what_is_said_is_of_the_picture_whatever_the_batch_is(source: ImageSource) -> None:
    teacher, pictures = teacher_of(source, 7), list_pictures(np.arange(10), 40, seed=0)
    said = teacher(pictures, np.arange(40))
    order = np.random.default_rng(0).permutation(40)
    for all_of_it, other, part in zip(
        said, teacher(pictures, order), teacher(pictures, np.arange(3)), strict=True
    ):
        np.testing.assert_array_equal(other, all_of_it[order])
        np.testing.assert_array_equal(part, all_of_it[:3])


def test_teacher_and_student_see_the_same_crops_flips_and_colours(source: ImageSource) -> None:
    pictures = list_pictures(np.arange(20), 60, seed=0)
    pixels = tf.constant(take_pictures(source, pictures, np.arange(60)))
    # As a step of the student draws them.
    rows, views = tf.constant(pictures.rows), tf.constant(pictures.views)
    keys = view_keys(draw_seed(7, 0)[0], rows, views)
    seen = augment(pixels, policy_tensors(lesson_policy(flip_and_crop())), keys).images
    said, _ = teacher_of(source, 7)(pictures, np.arange(60))
    np.testing.assert_allclose(said, pixel_means()(seen).numpy(), rtol=1e-3, atol=0.1)
    assert not np.allclose(said, pixel_means()(tf.cast(pixels, tf.float32)).numpy(), atol=1.0)


def test_a_lesson_is_asked_once(source: ImageSource, tmp_path: Path) -> None:
    pictures = list_pictures(np.arange(50), 120, seed=0)
    parts: list[int] = []

    def on_part() -> None:
        parts.append(len(list(tmp_path.rglob("*.npy"))))

    def teach(seed: int) -> np.ndarray:
        return np.column_stack(teacher_of(source, seed).teach(pictures, tmp_path, on_part))

    said = teach(7)
    assert said.dtype == np.float16
    (kept,), (axes,) = tmp_path.rglob("*.npy"), tmp_path.rglob("*.npz")
    written = [each.stat().st_mtime_ns for each in (kept, axes)]
    np.testing.assert_array_equal(teach(7), said)
    assert [each.stat().st_mtime_ns for each in (kept, axes)] == written
    # Once, when nothing was on disk.
    assert parts == [0]
    # A task that was killed asks about the rest along the same axes.
    kept.unlink()
    np.testing.assert_array_equal(teach(7), said)
    assert axes.stat().st_mtime_ns == written[1]
    # Another seed draws other views.
    assert (teach(8) != said).any()


def test_features_are_kept_along_the_axes_of_the_first_pictures(
    source: ImageSource, tmp_path: Path
) -> None:
    pictures, teacher = list_pictures(np.arange(50), 120, seed=0), teacher_of(source, 7)
    outputs, features = teacher.teach(pictures, tmp_path, lambda: None)
    raw, seen = teacher(pictures, np.arange(120))
    np.testing.assert_allclose(outputs, raw, rtol=1e-3)
    # Of a teacher with nine features none is lost.
    assert teacher.num_features == features.shape[1] == 9
    expected = PrincipalAxes.of(seen, 9)(seen)
    np.testing.assert_allclose(features, expected, atol=0.01)
    assert features.astype(np.float32).var(axis=0).mean() == pytest.approx(1.0, rel=0.01)
