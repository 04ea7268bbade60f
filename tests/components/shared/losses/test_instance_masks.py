"""Dice loss of masks of objects against closed forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.losses.instance_masks import mask_loss, object_dice

_OBJECT, _NONE = -30.0, 30.0


def _embedding(z):
    embedding = np.zeros((1, 32, 32, 3), np.float32)
    embedding[..., 2] = z
    return tf.constant(embedding)


def _instances(*squares):
    """Returns a map of 64 x 64 pixels with squares (left, top, right, bottom, number)."""
    instances = np.zeros((1, 64, 64), np.int32)
    for left, top, right, bottom, number in squares:
        instances[0, top:bottom, left:right] = number
    return tf.constant(instances)


_BOX = np.array([[[16, 16, 48, 48]]], np.float32)
# exp(-ln 2 r^2) over the square of sides 3 r in which points lie, by its integral along an axis.
_GAUSSIAN = math.sqrt(math.pi / math.log(2.0)) * math.erf(1.5 * math.sqrt(math.log(2.0)))
_INNER = math.sqrt(math.pi / math.log(2.0)) * math.erf(math.sqrt(math.log(2.0)))


def _dice(instances, embedding):
    """Returns what `object_dice` does of one object and one map."""
    return object_dice(_BOX, tf.constant([[[0, 1]]]), instances[:, None], embedding)


def test_the_loss_of_an_ellipse_in_closed_form():
    # The object fills its box: 4 of the 9 of the window, in units of half a side.
    loss = _dice(_instances((16, 16, 48, 48, 1)), _embedding(_OBJECT))
    expected = 1.0 - 2.0 * _INNER**2 / (_GAUSSIAN**2 + 4.0)
    np.testing.assert_allclose(loss, [[expected]], atol=0.02)


def test_what_says_nothing_has_missed_everything():
    loss = _dice(_instances((16, 16, 48, 48, 1)), _embedding(_NONE))
    np.testing.assert_allclose(loss, [[1.0]], atol=1e-5)


def test_what_is_right_loses_nothing():
    # Pixels of the object say its middle, the others that they are of none.
    embedding = _embedding(_NONE).numpy()
    places = np.arange(32) * 2 + 1.0
    inside = np.s_[0, 8:24, 8:24]
    embedding[..., 0], embedding[..., 1] = (32 - places) / 4, ((32 - places) / 4)[:, None]
    embedding[inside][..., 2] = _OBJECT
    loss = _dice(_instances((16, 16, 48, 48, 1)), tf.constant(embedding))
    np.testing.assert_allclose(loss, [[0.0]], atol=0.01)


def test_what_is_not_known_does_not_count():
    # Of the right half nothing is known: it may say what it likes.
    known = _instances((16, 16, 32, 48, 1), (32, 0, 64, 64, -1))
    embedding = _embedding(_OBJECT).numpy()
    other = embedding.copy()
    other[:, :, 16:, 2] = _NONE
    first, second = (_dice(known, tf.constant(each)) for each in (embedding, other))
    np.testing.assert_allclose(first, second)
    assert first.numpy()[0, 0] < 0.4


def _targets(**changes):
    held = {
        "boxes": np.concatenate([_BOX, _BOX, _BOX], 1),
        "box_classes": np.array([[0, 0, -1]], np.int32),
        "crowd": np.array([[False, True, False]]),
        "instances": _instances((16, 16, 48, 48, 1)),
        **changes,
    }
    return {name: tf.constant(value) for name, value in held.items()}


def test_crowds_and_empty_places_have_no_loss():
    alone = _dice(_instances((16, 16, 48, 48, 1)), _embedding(_OBJECT))[0, 0]
    loss = mask_loss(_targets(), _embedding(_OBJECT))
    np.testing.assert_allclose(loss, [2.0 * alone], rtol=1e-5)
    nothing = mask_loss(_targets(box_classes=np.full((1, 3), -1, np.int32)), _embedding(_OBJECT))
    np.testing.assert_array_equal(nothing, [0.0])


def test_objects_of_a_partner_are_in_its_map():
    mixed = _targets(
        boxes=np.repeat(_BOX, 4, 1),
        box_classes=np.array([[0, -1, 0, -1]], np.int32),
        crowd=np.zeros((1, 4), bool),
        share=np.array([[0.75, 1.0, 0.25, 1.0]], np.float32),
        partner_instances=_instances((16, 16, 32, 48, 1)),
    )
    maps = [mixed[name] for name in ("instances", "partner_instances")]
    own, other = (_dice(each, _embedding(_OBJECT)).numpy()[0, 0] for each in maps)
    assert own < other
    loss = mask_loss(mixed, _embedding(_OBJECT)).numpy()[0]
    assert loss == pytest.approx(2 * (0.75 * own + 0.25 * other), rel=1e-5)


def test_of_a_crowded_mixture_as_many_objects_count_as_an_image_has():
    # 20 in each of the four quarters of a mosaic, all alike but one: its turn comes and goes.
    number, odd = 20, 7
    squares = [(16, 16, 48, 48, 1 + slot) for slot in range(2 * number)]
    held = {
        "boxes": np.repeat(_BOX, 4 * number, 1),
        "box_classes": np.zeros((1, 4 * number), np.int32),
        "crowd": np.zeros((1, 4 * number), bool),
        "instances": _instances(squares[odd]),
        "partner_instances": _instances(),
    }
    missed = set()
    for shift in range(number):
        moved = {**held, "boxes": held["boxes"].copy()}
        # The sum of all boxes, to the pixel.
        moved["boxes"][0, -1, 0] -= shift
        missed.add(round(float(mask_loss(moved, _embedding(_OBJECT))[0]) / 2, 4))
    alone = 1 - float(_dice(_instances((16, 16, 48, 48, 1)), _embedding(_OBJECT))[0, 0])
    # Nothing is found of the others; a mean over 20 objects, with the odd one or without it.
    assert missed == {1.0, round(1 - alone / number, 4)}


def test_gradients_are_finite_and_the_same_when_compiled():
    cases = _targets(boxes=np.zeros((1, 3, 4), np.float32)), _targets()

    def gradient(embedding):
        with tf.GradientTape() as tape:
            tape.watch(embedding)
            loss = mask_loss(cases[0], embedding) + mask_loss(cases[1], embedding)
        return tape.gradient(loss, embedding)

    embedding = _embedding(0.0)
    plain, compiled = gradient(embedding), tf.function(gradient, jit_compile=True)(embedding)
    assert np.isfinite(plain).all()
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(compiled, plain, atol=1e-6)
