"""Which images are learned and which judge."""

import numpy as np
import pytest

from kfp_vision.components.network_choice.images import divide_images
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.store import class_strata, open_split


@pytest.fixture
def divided(request):
    folder = request.getfixturevalue(request.param)
    info = read_json(DatasetInfo, folder / "dataset.json")
    return folder, divide_images(folder, info, 128**2)


@pytest.mark.parametrize("divided", ["digits_dir"], indirect=True)
def test_enough_validation_images_judge_alone(divided):
    _, division = divided
    assert division.held_out[0].tolist() == list(range(300))
    assert len(division.held_out[1]) == 0
    assert sorted(division.known) == list(range(1000))


@pytest.mark.parametrize("divided", ["few_digits_dir"], indirect=True)
def test_few_validation_images_are_joined_by_training_images(divided):
    _, division = divided
    # 30 % of 80 images are less than the 40 of validation.
    assert [len(rows) for rows in division.held_out] == [40, 0]


@pytest.mark.parametrize("divided", ["digits_by_class_dir"], indirect=True)
def test_every_beginning_of_the_learned_images_holds_the_classes_in_their_shares(divided):
    folder, division = divided
    strata = class_strata(open_split(folder, "train"))
    counts = np.bincount(strata[division.known[:100]], minlength=10)
    whole = np.bincount(strata, minlength=10) / 6
    assert np.abs(counts - whole).max() <= 2


@pytest.mark.parametrize("divided", ["twelve_digits_dir"], indirect=True)
def test_nothing_is_learned_and_judged(divided):
    _, division = divided
    assert not set(division.known) & set(division.held_out[1])
    assert len(division.known) + len(division.held_out[1]) == 8
