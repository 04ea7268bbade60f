"""What the stages after the training read of `train` is in the sample."""

import json
import shutil

import numpy as np
import pytest

from kfp_vision.components.evaluation.calibration_images import calibration_rows
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets import train_sample
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.datasets.train_sample import sampled_rows, write_train_sample
from kfp_vision.components.shared.tasks import baselines, get_task
from kfp_vision.components.shared.tasks.frozen_baseline import choose_rows


def test_a_small_split_is_all_in_it():
    assert sampled_rows(500).tolist() == list(range(500))
    assert len(np.unique(sampled_rows(10**6))) == train_sample.SAMPLE_IMAGES


@pytest.mark.parametrize("num_train", [10_000, 40_000])
def test_no_row_is_read_that_is_not_in_it(num_train):
    at_hand = set(sampled_rows(num_train))
    assert set(calibration_rows(num_train)) <= at_hand
    # At 32 px, most images are within what the pixels allow.
    sizes = {"train": num_train, "validation": 100, "test": 100}
    assert set(choose_rows(sizes, 32, 0)["train"]) <= at_hand


def test_baselines_are_the_same_on_the_sample_as_on_the_whole(digits_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(train_sample, "SAMPLE_IMAGES", 200)
    thin = shutil.copytree(digits_dir, tmp_path / "thin", ignore=lambda *_: ["train.arrow"])
    write_train_sample(digits_dir, thin)
    images = open_split(thin, "train")["image"].to_pylist()
    assert [row for row, image in enumerate(images) if image] == sampled_rows(1000).tolist()
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    found = [
        baselines.predict_baselines(get_task("multiclass"), folder, info, False, 0)
        for folder in (digits_dir, thin)
    ]
    assert json.dumps(found[0], default=np.ndarray.tolist) == json.dumps(
        found[1], default=np.ndarray.tolist
    )
