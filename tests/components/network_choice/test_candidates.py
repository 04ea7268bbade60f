"""Sizes of the candidates: the shape of the images is kept, and they are not enlarged too much."""

import dataclasses

import pytest

from kfp_vision.components.network_choice.candidates import (
    from_scratch,
    frozen_candidates,
)
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json


@pytest.fixture
def info(few_digits_dir) -> DatasetInfo:
    return read_json(DatasetInfo, few_digits_dir / "dataset.json")


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        # Four times the side: 112, and 0.5 and 0.7 of it, in multiples of 16.
        (28, 28, [(64, 64), (80, 80), (112, 112)]),
        (8, 8, [(32, 32)]),
        (1500, 2000, [(97, 129), (139, 185), (194, 259)]),
    ],
)
def test_sizes(info, height, width, sizes):
    info = dataclasses.replace(info, median_height=height, median_width=width)
    found = frozen_candidates(info, DEFAULT_PRETRAINED, None)
    assert [(each.height, each.width) for each in found] == sizes
    assert {each.trainable for each in found} == {"head"}


def test_the_size_of_the_user_is_the_only_one(info):
    (only,) = frozen_candidates(info, DEFAULT_PRETRAINED, [72, 72])
    assert (only.height, only.width) == (72, 72)
    scratch = from_scratch(info, "auto", [72, 72])
    assert (scratch.architecture, scratch.height, scratch.trainable) == ("separable", 72, "all")
