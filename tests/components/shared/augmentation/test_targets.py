"""Targets against the pixels they describe: drawn, warped, and read off again."""

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.augmentation.geometry import matrices, warp
from kfp_vision.components.shared.augmentation.mixing import (
    centred_boxes,
    inside,
    label_weights,
    mix,
)
from kfp_vision.components.shared.augmentation.targets import (
    cut_boxes,
    cut_keypoints,
    cut_masks,
    mosaic_boxes,
    mosaic_masks,
    warp_boxes,
    warp_keypoints,
    warp_masks,
)
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, parameters

HEIGHT, WIDTH = 48, 64
MOVES = {
    "horizontal_flip": {"horizontal_flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "quarter turn": {"rot90": 1.0},
    "rotate": {"rotate": 0.15},
    "shear": {"shear_x": 0.4},
    "translate": {"translate_x": 0.3, "translate_y": 0.2},
    "zoom in": {"zoom_in": 0.6},
    "zoom out": {"zoom_out": 0.6},
    "all": {
        "horizontal_flip": 1.0,
        "rotate": 0.1,
        "shear_y": 0.2,
        "zoom_in": 0.2,
        "translate_x": 0.2,
    },
}


def matrix_of(magnitudes: dict[str, float]) -> tf.Tensor:
    row = [[magnitudes.get(name, 0.0) for name in PIXEL_TRANSFORMS]]
    return matrices(parameters(tf.constant(row), tf.ones([1, len(row[0])])), HEIGHT, WIDTH)


def extent(pixels: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(pixels)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@pytest.mark.parametrize("magnitudes", MOVES.values(), ids=MOVES)
def test_a_box_is_the_extent_of_its_warped_pixels(magnitudes):
    box = np.array([20, 14, 40, 30])
    mask = np.zeros((1, HEIGHT, WIDTH), np.int32)
    mask[0, box[1] : box[3], box[0] : box[2]] = 1
    matrix = matrix_of(magnitudes)
    moved, visible = warp_boxes(tf.constant(box[None, None], tf.float32), matrix, HEIGHT, WIDTH)
    warped = warp_masks(tf.constant(mask), matrix, 0).numpy()[0]
    assert visible.numpy().all()
    # The corners of a turned box are sharper than pixels.
    np.testing.assert_allclose(moved[0, 0], extent(warped), atol=1.5)
    soft = warp(tf.constant(mask[..., None] * 255.0, tf.float32), matrix)[0, ..., 0].numpy()
    assert ((soft > 127.5) != (warped == 1)).mean() < 0.02


@pytest.mark.parametrize("magnitudes", MOVES.values(), ids=MOVES)
def test_a_keypoint_stays_on_its_pixel(magnitudes):
    image = np.zeros((1, HEIGHT, WIDTH, 1), np.float32)
    image[0, 20:23, 33:36] = 255.0
    matrix = matrix_of(magnitudes)
    point, labelled = tf.constant([[[34.5, 21.5]]]), tf.constant([[True]])
    (moved,), visible = warp_keypoints(point, labelled, matrix, HEIGHT, WIDTH)
    warped = warp(tf.constant(image), matrix).numpy()[0, ..., 0]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centre = np.array([(x * warped).sum(), (y * warped).sum()]) / warped.sum()
    assert visible.numpy().all()
    np.testing.assert_allclose(moved[0], centre, atol=0.2)


def test_masks_are_ignored_where_the_image_ends():
    mask = tf.ones([1, HEIGHT, WIDTH], tf.int32)
    moved = warp_masks(mask, matrix_of({"translate_x": 0.5}), 255).numpy()[0]
    assert (moved[:, : WIDTH // 4] == 255).all()
    assert (moved[:, WIDTH // 4 :] == 1).all()


def test_mirroring_swaps_left_and_right_keypoints_and_turning_does_not():
    points = tf.constant([[[10.0, 5.0], [30.0, 5.0], [20.0, 9.0]]])
    swaps, labelled = [1, 0, 2], tf.constant([[True, False, True]])

    def warped(names, swaps):
        matrix = matrix_of(dict.fromkeys(names, 1.0))
        return warp_keypoints(points, labelled, matrix, HEIGHT, WIDTH, swaps)

    mirrored, known = warped(["horizontal_flip"], swaps)
    np.testing.assert_allclose(
        mirrored[0], [[WIDTH - 30, 5], [WIDTH - 10, 5], [WIDTH - 20, 9]], atol=1e-4
    )
    # What is known of them is swapped, too.
    assert known.numpy().tolist() == [[False, True, True]]
    both = ["horizontal_flip", "vertical_flip"]
    for turned, plain in zip(warped(both, swaps), warped(both, None), strict=True):
        np.testing.assert_array_equal(turned, plain)


def test_a_cut_takes_keypoints_and_brings_those_of_the_partner():
    points = tf.constant([[[5.0, 5.0], [30.0, 20.0]], [[6.0, 7.0], [40.0, 20.0]]])
    labelled = tf.constant([[True, True], [True, False]])
    cut = tf.constant([[0, 0, 10, 10], [0, 0, 0, 0]])
    both, known = cut_keypoints(points, labelled, tf.constant([1, 0]), cut)
    np.testing.assert_array_equal(both[0], [[5, 5], [30, 20], [6, 7], [40, 20]])
    assert known.numpy().tolist() == [[False, True, True, False], [True, False, False, False]]


def test_boxes_are_clipped_and_dropped_when_little_is_left():
    boxes = tf.constant([[[50.0, 10.0, 60.0, 20.0], [40.0, 10.0, 60.0, 20.0]]])
    moved, visible = warp_boxes(boxes, matrix_of({"translate_x": 0.5}), HEIGHT, WIDTH)
    assert visible.numpy().tolist() == [[False, True]]
    np.testing.assert_allclose(moved[0, 1], [56, 10, 64, 20], atol=1e-4)


def test_the_label_weight_is_the_share_of_own_pixels():
    images = tf.constant([0.0, 1.0])[:, None, None, None] * tf.ones([2, HEIGHT, WIDTH, 3])
    boxes = centred_boxes(tf.constant([[0.9, 0.5], [0.3, 0.1]]), tf.constant([0.5, 0.3]), 48, 64)
    partners, ones = tf.constant([1, 0]), tf.ones([2])
    weights = label_weights(ones, boxes, HEIGHT, WIDTH).numpy()
    none = tf.zeros([2], tf.bool)
    means = mix(images, partners, ones, boxes, none).numpy().mean((1, 2, 3))
    np.testing.assert_allclose(means, [1 - weights[0], weights[1]], atol=1e-6)
    halves = mix(images, partners, 0.75 * ones, tf.zeros([2, 4], tf.int32), none).numpy()
    np.testing.assert_allclose(halves[:, 0, 0, 0], [0.25, 0.75])


def test_cutmix_moves_the_masks_and_boxes_that_its_pixels_show():
    cut = tf.constant([[0, 0, 32, 48], [0, 0, 0, 0]])
    partners = tf.constant([1, 0])
    boxes = tf.constant([[[4.0, 4.0, 20.0, 20.0]], [[24.0, 8.0, 40.0, 24.0]]])
    visible = tf.ones([2, 1], tf.bool)
    mixed, shown = cut_boxes(boxes, visible, partners, cut)
    assert shown.numpy().tolist() == [[False, True], [True, False]]
    np.testing.assert_array_equal(mixed[0, 1], [24, 8, 32, 24])
    masks = tf.stack([tf.zeros([HEIGHT, WIDTH], tf.int32), tf.ones([HEIGHT, WIDTH], tf.int32)])
    pasted = cut_masks(masks, partners, cut).numpy()
    np.testing.assert_array_equal(pasted[0], inside(cut, HEIGHT, WIDTH)[0, ..., 0])
    np.testing.assert_array_equal(pasted[1], 1)


@pytest.mark.parametrize(("height", "width"), [(HEIGHT, WIDTH), (31, 45)])
def test_masks_boxes_and_pixels_of_a_mosaic_are_those_of_four_images_at_half_their_size(
    height: int, width: int
) -> None:
    generator = np.random.default_rng(0)
    boxes = np.zeros([4, 1, 4], np.float32)
    masks = np.zeros([4, height, width], np.int32)
    for image in range(4):
        # On even pixels: the half of the box covers whole ones.
        left, top = 2 * generator.integers(0, 5, 2)
        boxes[image, 0] = left, top, left + 12, top + 8
        masks[image, top : top + 8, left : left + 12] = image + 1
    partners = tf.constant([1, 2, 3, 0])
    moved = mosaic_boxes(tf.constant(boxes), partners, height, width).numpy()
    whole = mosaic_masks(tf.constant(masks), partners).numpy()
    pixels = tf.constant(masks[..., None], tf.float32)
    mosaics = tf.constant([True, True, True, False])
    mixed = mix(pixels, partners, tf.ones([4]), tf.zeros([4, 4], tf.int32), mosaics).numpy()
    assert whole.shape == masks.shape
    np.testing.assert_array_equal(mixed[:3, ..., 0], whole[:3])
    np.testing.assert_array_equal(mixed[3, ..., 0], masks[3])
    for image in range(4):
        for place, step in enumerate((0, 2, 1, 3)):
            rows, columns = np.nonzero(whole[image] == (image + step) % 4 + 1)
            found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_array_equal(found, moved[image, place])
