"""Policies are data: JSON, tensors of one shape, draws with the promised frequencies."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.augmentation import known_policies as published
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import (
    batch_keys,
    draw_mix,
    draw_transforms,
    view_keys,
)
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    MAX_BRANCHES,
    MAX_DRAWS,
    MAX_OPERATIONS,
    Branch,
    Mixing,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.augmentation.threefry import threefry, uniform
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS

LEVELS = [
    Branch((Operation(name, level / 6, level / 6),), weight=0.7 / (3 * 6))
    for name in ("rotate", "hue", "blur")
    for level in range(1, 7)
]
POLICIES = {
    "identity": IDENTITY,
    "one of the union, 30 % identity": Policy((Branch((), 0.3), *LEVELS)),
    "flip and crop": published.flip_and_crop(),
    "RandAugment": published.rand_augment(3, 5.0),
    "TrivialAugment": published.trivial_augment(),
    "mixing": Policy(mixing=Mixing(0.3, 0.4, 0.6, 1.0)),
}
SEED = tf.constant([3, 14])
KEYS = batch_keys(SEED, 8)


def magnitudes(policy: Policy, batch: int = 4000) -> dict[str, np.ndarray]:
    drawn = draw_transforms(
        batch_keys(SEED, batch), policy_tensors(policy), 32, 32
    ).magnitudes.numpy()
    return dict(zip(PIXEL_TRANSFORMS, drawn.T, strict=True))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_json_brings_a_policy_back(policy):
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_one_trace_serves_every_policy_and_draws_the_same_as_without_xla():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 12, 16, 3), np.uint8))
    compiled = tf.function(augment, jit_compile=True, autograph=False)
    for policy in POLICIES.values():
        tensors = policy_tensors(policy)
        for ours, expected in zip(
            tf.nest.flatten(compiled(images, tensors, KEYS)),
            tf.nest.flatten(augment(images, tensors, KEYS)),
            strict=True,
        ):
            np.testing.assert_allclose(ours, expected, atol=0.05)
    assert compiled.experimental_get_tracing_count() == 1


def test_the_identity_policy_changes_nothing():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 12, 16, 3), np.uint8))
    same = augment(images, policy_tensors(IDENTITY), KEYS)
    np.testing.assert_array_equal(same.images, images)
    np.testing.assert_array_equal(same.shares, 1.0)


def test_the_same_seed_draws_the_same_and_another_does_not():
    tensors = policy_tensors(published.trivial_augment())
    first, again, other = (
        draw_transforms(batch_keys(tf.constant(seed), 64), tensors, 32, 32).magnitudes.numpy()
        for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_view_of_an_image_is_the_same_in_every_batch_and_no_other_view():
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 16, 3), np.uint8)
    tensors = policy_tensors(published.trivial_augment())
    rows, views = tf.range(8), tf.constant([0, 0, 0, 0, 1, 1, 2, 2])

    def look(order: np.ndarray, change: int) -> np.ndarray:
        keys = view_keys(SEED[0], tf.gather(rows, order), tf.gather(views, order) + change)
        return augment(tf.constant(images[order]), tensors, keys).images.numpy()

    whole, order = look(np.arange(8), 0), np.array([6, 1, 4])
    np.testing.assert_array_equal(look(order, 0), whole[order])
    others = look(np.arange(8), 1)
    assert [(one != other).any() for one, other in zip(whole, others, strict=True)].count(True) > 4


def test_the_keys_of_places_and_views_are_all_different():
    places = [batch_keys(tf.constant([3, draw]), 64).numpy() for draw in range(8)]
    drawn = [view_keys(SEED[0], tf.range(64), tf.fill([64], view)).numpy() for view in range(8)]
    assert len({tuple(key) for keys in (*places, *drawn) for key in keys}) == 16 * 64


def test_branches_are_drawn_by_their_weights():
    drawn = magnitudes(POLICIES["one of the union, 30 % identity"])
    used = np.stack(list(drawn.values())) > 0
    assert used.sum(0).max() == 1
    assert (used.sum(0) == 0).mean() == pytest.approx(0.3, abs=0.03)
    assert used[PIXEL_TRANSFORMS.index("hue")].mean() == pytest.approx(0.7 / 3, abs=0.03)
    assert set(np.round(drawn["hue"] * 6, 4)) == set(range(7))


def test_probabilities_and_ranges_are_kept():
    policy = Policy(
        always=(Operation("rotate", 0.2, 0.6, 0.25), Operation("horizontal_flip", 0.5, 0.5))
    )
    drawn = magnitudes(policy)
    rotated = drawn["rotate"][drawn["rotate"] > 0]
    assert len(rotated) / 4000 == pytest.approx(0.25, abs=0.03)
    assert rotated.min() >= 0.2
    assert rotated.max() <= 0.6
    assert rotated.mean() == pytest.approx(0.4, abs=0.02)
    assert set(drawn["horizontal_flip"]) == {0.0, 1.0}
    assert drawn["horizontal_flip"].mean() == pytest.approx(0.5, abs=0.03)


def test_rand_augment_draws_n_times():
    used = np.stack(list(magnitudes(published.rand_augment(2)).values())) > 0
    assert used.sum(0).max() == 2
    # Two draws of 14 choices, one of them nothing: nothing twice.
    assert (used.sum(0) == 0).mean() == pytest.approx(1 / 14**2, abs=0.005)


def test_mixing_happens_as_often_and_as_strongly_as_said():
    policy = Policy(mixing=Mixing(0.3, 0.4, 0.5, 1.0, 0.2))
    partners, weights, boxes, mosaics = (
        value.numpy() for value in draw_mix(batch_keys(SEED, 6000), policy_tensors(policy), 64, 64)
    )
    assert (partners != np.arange(6000)).all()
    assert sorted(partners) == list(range(6000))
    assert (weights < 1).mean() == pytest.approx(0.3, abs=0.03)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (areas > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert mosaics.mean() == pytest.approx(0.2, abs=0.03)
    # In one way or another.
    assert ((weights < 1) | (areas > 0) | mosaics).all()
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert weights[weights < 1].var() == pytest.approx(1 / (4 * 1.8), rel=0.1)


# The known answers of the generator's authors (Random123, kat_vectors, 20 rounds).
@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, expected):
    words = [tuple(tf.constant(word, tf.uint32) for word in pair) for pair in (key, counter)]
    assert tuple(int(word) for word in threefry(*words)) == expected


def test_uniform_numbers_are_uniform_and_those_of_streams_unrelated():
    keys = batch_keys(SEED, 11)
    first, second = (uniform(keys, stream, 909).numpy().ravel() for stream in (0, 1))
    assert first.min() >= 0.0
    assert first.max() < 1.0
    np.testing.assert_allclose(np.histogram(first, 10, (0, 1))[0] / 9999, 0.1, atol=0.015)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Operation("spin", 0, 1), "`transform` must be one of"),
        (lambda: Operation("mixup", 0, 1), "`transform` must be one of"),
        (lambda: Operation("rotate", 0.6, 0.5), "in order"),
        (lambda: Operation("rotate", 0.0, 1.5), r"must lie in \[0, 1\]"),
        (lambda: Operation("rotate", 0.0, 1.0, -0.1), "probability"),
        (lambda: Branch((), -1.0), "`weight` must not be negative"),
        (lambda: Branch((Operation("hue", 0, 1),) * (MAX_OPERATIONS + 1)), "at most"),
        (lambda: Policy(()), "1 to"),
        (lambda: Policy((Branch(()),) * (MAX_BRANCHES + 1)), "1 to"),
        (lambda: Policy((Branch((), 0.0),)), "positive weight"),
        (lambda: Policy(draws=(0, MAX_DRAWS + 1)), "`draws`"),
        (lambda: Mixing(0.6, 0.2, 0.6, 1.0), "sum"),
        (lambda: Mixing(mixup_alpha=0.0), "positive"),
    ],
)
def test_nonsense_is_refused_with_the_rule(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()
