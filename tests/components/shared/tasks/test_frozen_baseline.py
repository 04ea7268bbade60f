"""The baseline on frozen features: what it looks at, its cache, few images, missing weights."""

import numpy as np
import pytest

from kfp_vision.components.shared.architectures.frozen_features import open_backbone
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.image_features import read_features
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.tasks import classification, task_of
from kfp_vision.components.shared.tasks.frozen_baseline import (
    BACKBONE,
    choose_rows,
    choose_side,
    predict_frozen_features,
)


@pytest.fixture(scope="module")
def backbone():
    return open_backbone(BACKBONE)


@pytest.mark.parametrize(
    ("num_images", "height", "width", "side"),
    [
        (1000, 3000, 4000, 224),
        (2624, 300, 300, 224),
        (10_000, 32, 32, 128),
        (1_000_000, 480, 640, 128),
        (70_000, 28, 28, 112),
        (12, 8, 8, 32),
        (12, 1, 1, 32),
    ],
)
def test_side(backbone, num_images, height, width, side):
    assert choose_side(num_images, height, width, backbone) == side


def test_all_images_of_a_small_set_and_a_bounded_number_of_a_large_one():
    few = choose_rows({"train": 8, "validation": 2, "test": 2}, 224, 0)
    assert {split: rows.tolist() for split, rows in few.items()} == {
        "train": list(range(8)),
        "validation": [0, 1],
        "test": [0, 1],
    }
    sizes = {"train": 10**6, "validation": 10**4, "test": 10**5}
    many = choose_rows(sizes, 128, 0)
    assert sum(map(len, many.values())) * 128**2 <= 1.6e8
    assert all(len(np.unique(rows)) == len(rows) for rows in many.values())
    assert len(many["train"]) > len(many["test"]) > len(many["validation"]) > 1000


def test_features_are_computed_once_and_are_those_of_the_images(backbone, few_digits_dir, tmp_path):
    rows = np.array([3, 1, 7])
    given = (backbone, few_digits_dir, "train", rows, (32, 32), 1)
    computed = read_features(*given, tmp_path)
    images = ImageSource(few_digits_dir, "train", (32, 32), 1).take(rows)
    np.testing.assert_allclose(computed, backbone(images), atol=1e-4)
    files = {path: path.read_bytes() for path in tmp_path.glob("*/*.npz")}
    np.testing.assert_array_equal(read_features(*given, tmp_path), computed)
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*.npz")} == files
    np.testing.assert_allclose(read_features(*given, None), computed, atol=1e-4)


def test_equal_images_have_equal_features(backbone, few_digits_dir):
    rows = np.array([2, 5, 2])
    features = read_features(backbone, few_digits_dir, "train", rows, (32, 32), 1, None)
    np.testing.assert_array_equal(features[0], features[2])
    assert np.abs(features[0] - features[1]).max() > 0.1


@pytest.mark.parametrize("balanced", [False, True])
def test_digits_are_told_apart(digits_dir, tmp_path_factory, balanced):
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    cache = tmp_path_factory.getbasetemp() / "features"
    records = predict_frozen_features(task_of(info), digits_dir, info, balanced, 0, cache)
    assert records["row"].tolist() == list(range(497))
    assert (records["probabilities"].argmax(axis=1) == records["label"]).mean() > 0.8


def test_twelve_images_in_all(twelve_digits_dir):
    info = read_json(DatasetInfo, twelve_digits_dir / "dataset.json")
    records = predict_frozen_features(task_of(info), twelve_digits_dir, info, False, 0, None)
    assert records["probabilities"].shape == (2, 10)
    np.testing.assert_allclose(records["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_without_weights_it_is_left_out_with_the_reason(monkeypatch, twelve_digits_dir):
    info = read_json(DatasetInfo, twelve_digits_dir / "dataset.json")
    monkeypatch.setattr(classification, "BACKBONE", "resnet_rs_18_imagenet")
    records, left_out = task_of(info).baselines(twelve_digits_dir, info, "accuracy", 0, None)
    assert set(records) == {"zero_rule", "nearest_centroid", "linear"}
    assert left_out == [
        "The baseline `frozen_features` is left out. `resnet_rs_18` has no weights of ImageNet."
    ]
