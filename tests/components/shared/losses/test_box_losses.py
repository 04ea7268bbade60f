"""Losses of boxes and of their centres against closed forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import CELL
from kfp_vision.components.shared.losses.box_iou import generalised_iou_loss
from kfp_vision.components.shared.losses.centre_focal import centre_focal_loss
from kfp_vision.components.shared.losses.detection import centre_targets, detection_loss

_HEIGHT, _WIDTH, _CLASSES = 12, 16, 3
# Middles of the cells (8, 5) and (2, 9), sides of 24 x 16 and 8 x 8 pixels.
_BOXES = np.array([[[22, 14, 46, 30], [6, 34, 14, 42], [0, 0, 0, 0]]], np.float32)
_CELLS = ((5, 8, 2), (9, 2, 0))


def _targets(**changes):
    held = {
        "boxes": _BOXES,
        "box_classes": np.array([[2, 0, -1]], np.int32),
        "crowd": np.zeros((1, 3), bool),
        **changes,
    }
    return {name: tf.constant(value) for name, value in held.items()}


def _perfect_outputs():
    heat = np.full((1, _HEIGHT, _WIDTH, _CLASSES), -20.0, np.float32)
    reach = np.zeros((1, _HEIGHT, _WIDTH, 4), np.float32)
    wanted = centre_targets(_targets(), _HEIGHT, _WIDTH, _CLASSES)
    for row, column in np.argwhere(wanted.box_weights.numpy()[0] > 0):
        x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
        left, top, right, bottom = wanted.boxes.numpy()[0, row, column]
        reach[0, row, column] = np.log(np.array([x - left, y - top, right - x, bottom - y]) / CELL)
    for row, column, label in _CELLS:
        heat[0, row, column, label] = 20.0
    return {"heat": tf.constant(heat), "reach": tf.constant(reach)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 4, 4], [0, 0, 4, 4], 0.0),
        ([0, 0, 2, 2], [0, 0, 1, 2], 0.5),
        # Apart: the hull of 3 holds a gap of 1.
        ([0, 0, 1, 1], [2, 0, 3, 1], 1.0 + 1 / 3),
        # Corners shared: union 7 in a hull of 9.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1.0 - 1 / 7 + 2 / 9),
        ([5, 5, 5, 5], [5, 5, 5, 5], 1.0),
    ],
)
def test_generalised_iou_loss(first, second, expected):
    boxes = tf.constant([first, second], tf.float32)
    np.testing.assert_allclose(generalised_iou_loss(boxes, boxes[::-1]), [expected] * 2, atol=1e-6)


def test_boxes_apart_are_drawn_together():
    boxes = tf.Variable([0.0, 0.0, 1.0, 1.0])
    with tf.GradientTape() as tape:
        loss = generalised_iou_loss(boxes, tf.constant([5.0, 0.0, 6.0, 1.0]))
    assert tape.gradient(loss, boxes).numpy()[2] < 0


def test_centre_focal_loss():
    logits, half = tf.zeros([1, 1, 3, 1]), 0.25 * math.log(2)
    targets = tf.constant([1.0, 0.0, 0.5])[None, None, :, None]
    losses = centre_focal_loss(logits, targets)[0, 0, :, 0]
    np.testing.assert_allclose(losses, [half, half, half / 16], rtol=1e-6)
    np.testing.assert_allclose(
        centre_focal_loss(logits, targets, 2.0)[0, 0, :, 0], 2 * losses, rtol=1e-6
    )
    assert np.isfinite(centre_focal_loss(logits + 200.0, targets)).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_many_objects_are_drawn_as_each_would_be_alone(compiled):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 40, (2, 50, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + generator.uniform(4, 20, (2, 50, 2))], -1)
    classes = generator.integers(-1, _CLASSES, (2, 50)).astype(np.int32)
    held = _targets(
        boxes=boxes.astype(np.float32), box_classes=classes, crowd=np.zeros((2, 50), bool)
    )

    def draw(**targets):
        return centre_targets(targets, _HEIGHT, _WIDTH, _CLASSES)

    wanted = tf.function(draw, jit_compile=compiled)(**held)
    alone = [
        draw(**{name: value[:, at : at + 1] for name, value in held.items()}).heat.numpy()
        for at in range(50)
    ]
    np.testing.assert_allclose(wanted.heat, np.max(alone, 0), atol=1e-6)
    assert wanted.count.numpy().tolist() == (classes >= 0).sum(1).tolist()
    # Every cell that learns a box learns that of an object whose Gaussian is the highest there.
    heights = np.max(alone, -1)
    for image, row, column in np.argwhere(wanted.box_weights.numpy() > 0):
        box = wanted.boxes.numpy()[image, row, column]
        whose = np.flatnonzero((held["boxes"][image] == box).numpy().all(1))
        there = heights[:, image, row, column]
        assert there[whose].max() == pytest.approx(there.max(), rel=1e-5)


def test_a_centre_is_the_cell_that_holds_it():
    wanted = centre_targets(_targets(), _HEIGHT, _WIDTH, _CLASSES)
    heat = wanted.heat.numpy()[0]
    assert sorted(map(tuple, np.argwhere(heat == 1.0))) == sorted(_CELLS)
    # One class does not show in the heat of another.
    assert heat[..., 1].max() == 0.0
    # Wider than high: the heat falls more slowly to the side.
    assert heat[5, 9, 2] > heat[6, 8, 2] > 0.0
    np.testing.assert_array_equal(wanted.boxes[0, 5, 8], _BOXES[0, 0])
    np.testing.assert_array_equal(wanted.boxes[0, 9, 2], _BOXES[0, 1])
    assert wanted.count.numpy() == [2.0]


def test_each_object_counts_about_the_same_however_large():
    boxes = np.array([[[100, 60, 300, 160], [10, 10, 18, 18]]], np.float32)
    targets = _targets(
        boxes=boxes, box_classes=np.array([[0, 0]], np.int32), crowd=np.zeros((1, 2), bool)
    )
    weights = centre_targets(targets, 60, 100, 1).box_weights.numpy()[0]
    assert weights[10:].sum() == pytest.approx(1.0, abs=0.1)
    assert weights[:10].sum() == pytest.approx(1.0, abs=0.1)


def test_the_loss_of_what_is_right_is_zero():
    assert detection_loss(_targets(), _perfect_outputs()).numpy()[0] == pytest.approx(0, abs=1e-4)


def test_the_loss_of_nothing_learned_in_closed_form():
    nothing = {
        "heat": tf.zeros([1, _HEIGHT, _WIDTH, _CLASSES]),
        "reach": tf.zeros([1, _HEIGHT, _WIDTH, 4]),
    }
    empty = _targets(box_classes=np.full((1, 3), -1, np.int32))
    cells = _HEIGHT * _WIDTH * _CLASSES
    expected = cells * 0.25 * math.log(2)
    assert detection_loss(empty, nothing).numpy()[0] == pytest.approx(expected, rel=1e-5)


def test_nothing_is_asked_within_a_crowd():
    crowd = _targets(crowd=np.array([[True, False, False]]))
    outputs = _perfect_outputs()
    wanted = centre_targets(crowd, _HEIGHT, _WIDTH, _CLASSES)
    assert wanted.heat.numpy()[0, ..., 2].max() == 0.0
    assert wanted.heat_weights.numpy()[0, 5, 8] == 0.0
    assert wanted.heat_weights.numpy()[0, 9, 2] == 1.0
    # What was found there is neither right nor wrong.
    assert detection_loss(crowd, outputs).numpy()[0] == pytest.approx(0, abs=1e-4)


def test_an_object_counts_by_its_share():
    outputs = _perfect_outputs()
    missed = {**outputs, "heat": tf.fill(outputs["heat"].shape, -20.0)}
    both = np.array([[0.5, 1.0, 1.0]], np.float32)
    loss, shared = detection_loss(_targets(), missed), detection_loss(_targets(share=both), missed)
    assert loss.numpy()[0] == pytest.approx(20.0, rel=1e-3)
    # 20 nats for each of them, one of which counts half.
    assert shared.numpy()[0] == pytest.approx((10.0 + 20.0) / 1.5, rel=1e-3)


def test_the_loss_is_the_same_when_compiled():
    outputs = {name: value + 0.3 for name, value in _perfect_outputs().items()}
    compiled = tf.function(detection_loss, jit_compile=True)
    np.testing.assert_allclose(
        compiled(_targets(), outputs), detection_loss(_targets(), outputs), rtol=1e-4
    )
