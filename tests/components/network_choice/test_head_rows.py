"""How many images a frozen network sees: what they cost, and what their features hold."""

import pytest

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.choosing import _head_rows
from kfp_vision.components.network_choice.trials import NetworkSize
from kfp_vision.components.shared.tasks.linear_cost import fit_multiply_adds

SECONDS = 720.0


def head_rows(name, *sizes):
    frozen = {Candidate(name, side, side, "head"): size for side, size in enumerate(sizes, 32)}
    return _head_rows([*frozen], frozen.__getitem__, SECONDS)


@pytest.mark.parametrize("name", ["convnext_tiny_imagenet", "own.keras"])
def test_a_network_that_costs_more_sees_fewer_images(name):
    small, large = (head_rows(name, NetworkSize(cost, 0, 20_000)) for cost in (10**9, 4 * 10**9))
    assert small // 4 == large > 0
    assert (
        head_rows(name, NetworkSize(10**9, 0, 20_000), NetworkSize(3 * 10**9, 0, 20_000)) == large
    )


def test_a_file_is_slower_in_keras():
    size = NetworkSize(10**9, 0, 20_000)
    assert head_rows("own.keras", size) < head_rows("convnext_tiny_imagenet", size)


def test_features_of_one_size_that_fill_the_memory_bound_all():
    sizes = NetworkSize(10**6, 0, 20_000), NetworkSize(10**6, 0, 300)
    assert head_rows("own.keras", *sizes) == 300


def test_the_default_network_sees_ten_million_pixels_a_second():
    # EfficientNet-Lite0 at 224 px, for a thirtieth of the time.
    rows = head_rows("efficientnet_lite0_imagenet", NetworkSize(383_920_352, 0, 20_000))
    assert rows == pytest.approx(SECONDS / 30 * 1e7 / 224**2, rel=0.001)


def test_many_classes_leave_fewer_images():
    # What 1,000 classes cost on 1,280 features; one core fits them.
    few, many = (NetworkSize(383_920_352, fit_multiply_adds(1280, c), 20_000) for c in (10, 1000))
    assert head_rows("efficientnet_lite0_imagenet", few) > 3 * head_rows(
        "efficientnet_lite0_imagenet", many
    )
