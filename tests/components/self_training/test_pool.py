"""What the images with labels tell of what models say."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.self_training.filtering import filter_images
from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting


def _pool(dataset: Path, folder: Path, weights: list[float] | None = None) -> Pool:
    model = {"image_size": Setting([16, 16], "test")}
    data = {"class_weights": Setting(weights, "test")}
    info = read_json(DatasetInfo, dataset / "dataset.json")
    return Pool(dataset, info, Recipe({"data": data, "model": model}), folder, None, lambda: None)


@pytest.mark.parametrize("weights", [None, [1.0, 3.0] * 5])
def test_images_judge_by_the_class_weights_of_the_trainings(
    few_labels_dir: Path, tmp_path: Path, weights: list[float] | None
) -> None:
    pool = _pool(few_labels_dir, tmp_path, weights)
    judging = np.arange(20, 60)
    labels = [
        images.read_targets(rows)["label"]
        for images, rows in ((pool.train, judging), (pool.validation, np.arange(200)))
    ]
    counted = np.array(weights or [1.0] * 10)[np.concatenate(labels)]
    # Of a model that knows nothing.
    losses = pool.losses(np.zeros((260, 10)), judging)
    np.testing.assert_allclose(losses, counted * np.log(10), rtol=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_copies_and_what_is_foreign_do_not_speak_for_what_is_taught(
    few_labels_of: Callable[[str], Path], tmp_path: Path, task: str
) -> None:
    dataset = few_labels_of(task)
    pool, known = _pool(dataset, tmp_path / "kept"), np.arange(60)
    classes = len(pool._info.classes)
    generator = np.random.default_rng(0)
    outputs = generator.normal(size=(400, classes)).astype(np.float32)
    # Of the images without labels a third are copies and a third foreign.
    kind = np.arange(240) % 3
    filtered = filter_images(kind == 0, (kind == 1).astype(float), np.zeros(100))
    features = generator.normal(size=(400, 8))
    said = Said(outputs[:160], outputs[160:], {"own": features}, filtered, [], "own")
    others, elsewhere = said.unlabeled.copy(), features.copy()
    others[kind != 2] += 3 * generator.normal(size=(160, classes))
    elsewhere[160:][kind != 2] = generator.normal(size=(160, 8))
    changed = dataclasses.replace(said, unlabeled=others, features={"own": elsewhere})
    first, second = (pool.refine(each, known, "own") for each in (said, changed))
    np.testing.assert_array_equal(first.held, second.held)
    np.testing.assert_array_equal(first.unlabeled[kind == 2], second.unlabeled[kind == 2])
    assert (first.unlabeled[kind == 2] != said.unlabeled[kind == 2]).any(axis=1).all()
    if task == "multilabel":
        np.testing.assert_allclose(first.unlabeled[kind != 2], said.unlabeled[kind != 2], rtol=1e-3)
