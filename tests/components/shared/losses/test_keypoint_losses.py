"""Losses of keypoints against closed forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.losses.keypoints import keypoint_loss, point_targets
from kfp_vision.components.shared.losses.offset_l1 import offset_l1_loss

_HEIGHT, _WIDTH, _POINTS = 12, 16, 2
# Boxes of 32 x 32 and 16 x 16 pixels, with their middles in the cells (5, 5) and (7, 12).
_BOXES = np.array([[[6, 6, 38, 38], [42, 22, 58, 38], [0, 0, 0, 0]]], np.float32)
# Three labelled keypoints: at 0.3 of the cell (3, 3), in (6, 8) and in (8, 13); one is not.
_KEYPOINTS = np.array(
    [[[[13.2, 13.2, 2], [34, 26, 1]], [[54, 34, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]],
    np.float32,
)
_CELLS = {(3, 3, 0), (6, 8, 1), (8, 13, 0)}


def _targets(**changes):
    held = {
        "boxes": _BOXES,
        "box_classes": np.array([[0, 0, -1]], np.int32),
        "crowd": np.zeros((1, 3), bool),
        "keypoints": _KEYPOINTS,
        **changes,
    }
    return {name: tf.constant(value) for name, value in held.items()}


def _perfect_outputs():
    points = np.full((1, _HEIGHT, _WIDTH, _POINTS), -20.0, np.float32)
    offsets = np.zeros((1, _HEIGHT, _WIDTH, 2, _POINTS, 2), np.float32)
    column, row = np.meshgrid(np.arange(_WIDTH), np.arange(_HEIGHT))
    places = np.stack([column, row], -1)[:, :, None]
    at = _KEYPOINTS[0, :, :, :2] / 4 - 0.5
    # Everything left of column 9 points to the first object.
    pose = np.where(column[..., None, None] < 9, at[0], at[1])
    offsets[0, ..., 0, :, :] = pose - places
    shift = np.where(column[..., None] < 9, at[0, 0], at[1, 0]) - places[:, :, 0]
    offsets[0, ..., 1, 0, :] = shift
    offsets[0, ..., 1, 1, :] = at[0, 1] - places[:, :, 0]
    for place in _CELLS:
        points[(0, *place)] = 20.0
    flat = offsets.reshape(1, _HEIGHT, _WIDTH, 4 * _POINTS)
    return {"points": tf.constant(points), "offsets": tf.constant(flat)}


def test_offset_l1_loss():
    offsets = tf.constant([[1.0, -2.0], [3.0, 0.5], [7.0, 7.0]])
    wanted = tf.constant([[0.0, 0.0], [3.0, 1.0], [np.nan, np.inf]])
    losses = offset_l1_loss(offsets, wanted, tf.constant([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(losses, [3.0, 1.0, 0.0])


def test_a_keypoint_is_the_cell_that_holds_it():
    heat, weights = (each.numpy()[0] for each in point_targets(_targets(), _HEIGHT, _WIDTH))
    assert set(map(tuple, np.argwhere(heat == 1.0).tolist())) == _CELLS
    # One does not show in the heat of another; around one it falls as a Gaussian.
    assert heat[3, 3, 1] == 0.0
    assert heat[3, 4, 0] == pytest.approx(math.exp(-0.5 / 0.6**2))
    # The second of the smaller object is not labelled: nothing is asked of it in the box.
    assert weights[5:9, 11:14, 1].max() == 0.0
    assert weights[..., 0].min() == weights[:5, :, 1].min() == 1.0


def _crowd(places, objects):
    """Returns targets of 2 images with up to so many objects, anywhere in the places for them."""
    generator = np.random.default_rng(places)
    corners = generator.uniform(0, 40, (2, places, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(2, 24, (2, places, 2))], -1)
    classes = np.full((2, places), -1)
    for image, number in enumerate((objects, objects // 2)):
        classes[image, generator.permutation(places)[:number]] = 0
    xy = generator.uniform(-6, 70, (2, places, _POINTS, 2))
    return {
        "boxes": boxes.astype(np.float32),
        "box_classes": classes.astype(np.int32),
        "crowd": generator.random((2, places)) < 0.1,
        "keypoints": np.concatenate([xy, generator.integers(0, 3, (2, places, _POINTS, 1))], -1),
        "share": generator.choice([0.25, 0.5, 1.0], (2, places)).astype(np.float32),
    }


def _drawn_one_by_one(targets):
    """Returns heat and weights [2, h, w, K], a keypoint and a cell at a time."""
    heat, weights = np.zeros((2, _HEIGHT, _WIDTH, _POINTS)), np.ones((2, _HEIGHT, _WIDTH, _POINTS))
    shares = np.zeros_like(heat)
    for image, place in np.argwhere(targets["box_classes"] >= 0):
        left, top, right, bottom = targets["boxes"][image, place]
        for point, (x, y, label) in enumerate(targets["keypoints"][image, place]):
            if not label or targets["crowd"][image, place]:
                across, down = (4 * np.arange(length) + 2 for length in (_WIDTH, _HEIGHT))
                rows, columns = (down >= top) & (down < bottom), (across >= left) & (across < right)
                weights[image, ..., point][np.ix_(rows, columns)] = 0.0
                continue
            own_row = int(np.clip(y // 4, 0, _HEIGHT - 1))
            own_column = int(np.clip(x // 4, 0, _WIDTH - 1))
            spread = np.clip(0.04 * math.sqrt((right - left) * (bottom - top)) / 4, 0.6, 1.5)
            for row in range(max(0, own_row - 4), min(_HEIGHT, own_row + 5)):
                for column in range(max(0, own_column - 4), min(_WIDTH, own_column + 5)):
                    apart = (row - own_row) ** 2 + (column - own_column) ** 2
                    at = image, row, column, point
                    heat[at] = max(heat[at], math.exp(-0.5 * apart / spread**2))
            at = image, own_row, own_column, point
            shares[at] = max(shares[at], targets["share"][image, place])
    return heat, np.where(heat >= 1.0, shares, weights)


@pytest.mark.parametrize(
    ("places", "objects"), [(1, 0), (1, 1), (5, 4), (16, 16), (17, 17), (100, 40)]
)
def test_objects_drawn_in_parts_are_those_drawn_one_by_one(places, objects):
    targets = _crowd(places, objects)
    expected = _drawn_one_by_one(targets)
    held = {name: tf.constant(value) for name, value in targets.items()}
    for found, wanted in zip(point_targets(held, _HEIGHT, _WIDTH), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_crowd_is_drawn_in_the_memory_of_a_few_objects():
    """No tensor has a value for every object, keypoint and cell of its neighbourhood."""
    places, neighbourhood = 1000, 81
    held = {name: tf.constant(value) for name, value in _crowd(places, 40).items()}
    drawn = tf.function(lambda: point_targets(held, _HEIGHT, _WIDTH)).get_concrete_function().graph
    definition = drawn.as_graph_def(add_shapes=True)
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    sizes = [math.prod(each.size for each in shape.dim) for shape in shapes]
    assert max(sizes) < 2 * places * _POINTS * neighbourhood / 4


def test_the_loss_of_what_is_right_is_zero():
    assert keypoint_loss(_targets(), _perfect_outputs()).numpy()[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        # One cell to the right, of three keypoints: two of the object of 8 cells, one of that of 4.
        pytest.param(0, 5.0 * (2 / 8 + 1 / 4) / 3, id="places"),
        pytest.param(1, 1.0, id="shifts"),
    ],
)
def test_offsets_lose_by_their_distance(part, expected):
    outputs = _perfect_outputs()
    moved = tf.reshape(outputs["offsets"], [1, _HEIGHT, _WIDTH, 2, _POINTS, 2])
    step = np.zeros((2, 1, 2), np.float32)
    step[part, 0, 0] = 1.0
    outputs["offsets"] = tf.reshape(moved + step, outputs["offsets"].shape)
    loss = keypoint_loss(_targets(), outputs).numpy()[0]
    assert loss == pytest.approx(expected, rel=1e-3)


def test_the_loss_of_nothing_learned_in_closed_form():
    nothing = {name: tf.zeros_like(value) for name, value in _perfect_outputs().items()}
    empty = _targets(box_classes=np.full((1, 3), -1, np.int32))
    expected = _HEIGHT * _WIDTH * _POINTS * 0.25 * math.log(2)
    assert keypoint_loss(empty, nothing).numpy()[0] == pytest.approx(expected, rel=1e-5)


def test_what_is_not_labelled_counts_nowhere():
    outputs = _perfect_outputs()
    hidden = _KEYPOINTS * np.array([1, 1, 0], np.float32)
    # Wherever a place without a label lies, even out of the image.
    hidden[0, 0, 0, :2] = -50.0
    targets = _targets(keypoints=hidden)
    assert keypoint_loss(targets, outputs).numpy()[0] == pytest.approx(0, abs=1e-4)
    crowd = _targets(crowd=np.array([[True, True, False]]))
    assert keypoint_loss(crowd, outputs).numpy()[0] == pytest.approx(0, abs=1e-4)


def test_a_keypoint_counts_by_the_share_of_its_object():
    outputs = _perfect_outputs()
    missed = {**outputs, "points": tf.fill(outputs["points"].shape, -20.0)}
    loss = keypoint_loss(_targets(), missed)
    assert loss.numpy()[0] == pytest.approx(20.0, rel=1e-3)
    shared = _targets(share=np.array([[0.5, 1.0, 1.0]], np.float32))
    # 20 nats for each of the three, two of which count half.
    expected = (2 * 10.0 + 20.0) / 2.0
    assert keypoint_loss(shared, missed).numpy()[0] == pytest.approx(expected, rel=1e-3)


def test_keypoints_at_the_border_are_in_the_last_cell():
    corner = np.array([[[64, 48, 2], [0, 0, 2]]] * 3, np.float32)[None]
    heat, _ = point_targets(_targets(keypoints=corner), _HEIGHT, _WIDTH)
    assert heat.numpy()[0, -1, -1, 0] == heat.numpy()[0, 0, 0, 1] == 1.0


def test_the_loss_is_the_same_when_compiled():
    outputs = {name: value + 0.3 for name, value in _perfect_outputs().items()}
    compiled = tf.function(keypoint_loss, jit_compile=True)
    np.testing.assert_allclose(
        compiled(_targets(), outputs), keypoint_loss(_targets(), outputs), rtol=1e-4
    )
