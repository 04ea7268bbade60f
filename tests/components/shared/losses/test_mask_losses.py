"""Cross-entropy and Dice loss of masks against their closed forms."""

import numpy as np
import pytest

from kfp_vision.components.shared.losses.dice import dice_loss
from kfp_vision.components.shared.losses.pixel_cross_entropy import pixel_cross_entropy

_MASK = np.array([[[0, 0, 1], [1, 1, 255]]])
_ONE_HOT = np.eye(256, 3, dtype=np.float32)[_MASK]


def _constant(p: list[float]) -> np.ndarray:
    return np.broadcast_to(np.array(p, np.float32), _ONE_HOT.shape)


def test_cross_entropy_is_the_mean_over_known_pixels():
    p = [0.5, 0.25, 0.25]
    expected = -(2 * np.log(0.5) + 3 * np.log(0.25)) / 5
    np.testing.assert_allclose(pixel_cross_entropy(_ONE_HOT, np.log(_constant(p))), [expected])


def test_smoothing_moves_a_share_of_the_truth_to_all_classes():
    p = np.array([0.5, 0.25, 0.25])
    plain = -(2 * np.log(0.5) + 3 * np.log(0.25)) / 5
    even = -np.log(p).mean()
    smoothed = pixel_cross_entropy(_ONE_HOT, np.log(_constant(p.tolist())), 0.3)
    np.testing.assert_allclose(smoothed, [0.7 * plain + 0.3 * even], rtol=1e-6)


def test_weights_are_those_of_the_true_class():
    p = [0.5, 0.25, 0.25]
    weights = np.array([2.0, 0.5, 7.0], np.float32)
    expected = -(2 * 2 * np.log(0.5) + 0.5 * 3 * np.log(0.25)) / 5
    weighted = pixel_cross_entropy(_ONE_HOT, np.log(_constant(p)), class_weights=weights)
    np.testing.assert_allclose(weighted, [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([[[0, 0, 1], [1, 1, 2]]], 0.0),  # Right wherever anything is known.
        ([[[2, 2, 2], [2, 2, 2]]], 1.0),
        # 0: 2 * 2 / (3 + 2), 1: 2 * 2 / (2 + 3).
        ([[[0, 0, 0], [1, 1, 0]]], 0.2),
    ],
)
def test_dice_of_whole_answers(predicted, expected):
    p = np.eye(3, dtype=np.float32)[np.array(predicted)]
    np.testing.assert_allclose(dice_loss(_ONE_HOT, p), [expected], atol=1e-6)


def test_dice_of_even_answers():
    third = 1 / 3
    shares = [2 * n * third / (5 * third + n) for n in (2, 3)]
    even = dice_loss(_ONE_HOT, _constant([third] * 3))
    np.testing.assert_allclose(even, [1 - np.mean(shares)], rtol=1e-6)


def test_an_image_of_which_nothing_is_known_has_no_loss():
    nothing = np.zeros_like(_ONE_HOT)
    p = _constant([0.2, 0.3, 0.5])
    assert pixel_cross_entropy(nothing, np.log(p)).numpy() == 0
    assert dice_loss(nothing, p).numpy() == 0
