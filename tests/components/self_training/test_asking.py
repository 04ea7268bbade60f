"""What is asked of the images, of which of them, and what becomes of the answers."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.datasets import load_digits

from kfp_vision.components.self_training import pool as pool_module
from kfp_vision.components.self_training import pretrained_view
from kfp_vision.components.self_training.lesson import make_lesson
from kfp_vision.components.self_training.noisy_student import NOISY_STUDENT
from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.self_training.student import soft_labels
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.architectures.frozen_features import open_backbone
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.self_training_result import Neighbours
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import SplitWriter, open_split
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks.calibration import negative_log_likelihood
from kfp_vision.components.shared.tasks.frozen_baseline import BACKBONE
from kfp_vision.components.shared.training.setup import complete_recipe


@pytest.fixture
def pool(few_judges_dir: Path, small_model: str, tmp_path: Path) -> Pool:
    """Of 100 training, 30 validation and 1000 images without labels."""
    return opened(few_judges_dir, small_model, tmp_path)


def opened(dataset: Path, architecture: str, folder: Path) -> Pool:
    info = read_json(DatasetInfo, dataset / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=architecture, epochs=1))
    return Pool(dataset, info, recipe, folder, None, lambda: None)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return Teacher(keras.Model(inputs, keras.layers.Dense(10)(flat)))


def hidden_labels(pool: Pool) -> np.ndarray:
    """Of the images without labels."""
    target = load_digits().target
    return np.array([target[int(Path(path).stem)] for path in pool.unlabeled.paths])


def outputs_of(teacher: Teacher, images: Any, rows: np.ndarray) -> np.ndarray:
    return teacher(images.take(rows))[0]


def ask(pool: Pool, teacher: Teacher) -> Said:
    return pool.ask(teacher, np.arange(0, 100, 2))


def test_labels_are_sharpened_once_and_taught_as_they_were_judged(pool, teacher, monkeypatch):
    monkeypatch.setattr(pool_module, "MAX_NODES", 1)
    said = ask(pool, teacher)
    plain = outputs_of(teacher, pool.unlabeled, np.arange(1000))
    np.testing.assert_allclose(said.unlabeled, 2 * plain, rtol=1e-4, atol=1e-4)
    assert pool.ways(said) == ["none"]
    refined = pool.refine(said, np.arange(0, 100, 2), "none")
    rows = said.filtered.rows
    judged = softmax(refined.unlabeled, axis=1)[rows]
    # Each class once by its share over the mean of what is said of it.
    shares = np.bincount(pool._labels[0:100:2], minlength=10) / 50
    sharp = softmax(2 * plain[rows].astype(np.float64), axis=1)
    expected = sharp * shares / sharp.mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(judged, expected, atol=2e-5)
    views = soft_labels(refined.unlabeled[rows], np.arange(100), 100, rows, NOISY_STUDENT)
    taught = softmax(views.outputs[views.rows >= 100].astype(np.float64), axis=1)
    np.testing.assert_allclose(taught, judged, atol=2e-3)


def test_neighbours_are_those_of_the_features_of_the_model(pool, teacher):
    said, known = ask(pool, teacher), np.arange(0, 100, 2)
    sources = (pool.train.source, pool.validation.source, pool.unlabeled)
    features = [teacher(each.take(np.arange(len(each))))[1] for each in sources]
    np.testing.assert_allclose(said.features["own"], np.concatenate(features), atol=1e-6)
    refined, without = (pool.refine(said, known, way) for way in ("own", "none"))
    # An image that has the label of its class as a neighbour is held likelier of it.
    truth = pool._labels[1:100:2]
    right = [softmax(each.held, axis=1)[np.arange(1, 100, 2), truth] for each in (refined, without)]
    assert right[0].mean() > 1.5 * right[1].mean()


def test_of_the_images_with_labels_those_that_judge_are_asked_about(pool, teacher):
    said = ask(pool, teacher)
    judging = np.arange(1, 100, 2)
    train = outputs_of(teacher, pool.train.source, judging)
    validation = outputs_of(teacher, pool.validation.source, np.arange(30))
    np.testing.assert_allclose(said.held[judging], 2 * train, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(said.held[100:], 2 * validation, rtol=1e-4, atol=1e-4)
    assert not said.held[0:100:2].any()


def test_a_sample_is_random_rising_and_that_of_its_seed(pool, teacher):
    pool.sample(200.7, 3)
    sample = pool.asked
    assert len(np.unique(sample)) == len(sample) == 200
    assert (np.diff(sample) > 0).all()
    # Not one end of them.
    assert sample.min() < 50
    assert sample.max() >= 950
    said = ask(pool, teacher)
    expected = 2 * outputs_of(teacher, pool.unlabeled, sample)
    np.testing.assert_allclose(said.unlabeled, expected, rtol=1e-4, atol=1e-4)
    assert len(said.filtered.is_copy) == 200
    paths = [pool.unlabeled.paths[row] for row in sample[said.filtered.is_foreign]]
    assert {each.path for each in said.foreign} <= set(paths)
    assert said.foreign
    pool.sample(200.7, 4)
    assert (pool.asked != sample).any()
    pool.sample(200.7, 3)
    np.testing.assert_array_equal(pool.asked, sample)


def test_without_a_limit_all_are_asked_about_that_fit_into_memory(pool, monkeypatch):
    pool.sample(np.inf, 0)
    np.testing.assert_array_equal(pool.asked, np.arange(1000))
    # Of ten classes each.
    monkeypatch.setattr(pool_module, "_MOST_OUTPUTS", 5000)
    pool.sample(np.inf, 0)
    assert len(pool.asked) == 500
    pool.sample(0.0, 0)
    assert len(pool.asked) == 1


def _sorted_by_class(dataset: Path, folder: Path) -> Path:
    """Returns the dataset with its validation images class by class, as folders of classes are."""
    shutil.copytree(dataset, folder)
    rows = open_split(dataset, "validation").to_pylist()
    (folder / "validation.arrow").unlink()
    with SplitWriter(folder, "validation") as writer:
        for row in sorted(rows, key=lambda row: row["labels"]):
            writer.write(row)
    return folder


def test_what_counts_as_alike_is_that_of_images_of_all_classes(
    few_labels_dir, small_model, teacher, tmp_path, monkeypatch
):
    dataset = _sorted_by_class(few_labels_dir, tmp_path / "dataset")
    pool = opened(dataset, small_model, tmp_path / "kept")
    monkeypatch.setattr(pool_module, "_BANK", 30)
    monkeypatch.setattr(pool_module, "MAX_NODES", 1)
    labels = pool.validation.read_targets(np.arange(200))["label"]
    assert len(np.unique(labels[:30])) <= 2
    looked_at: list[int] = []
    features = teacher.features

    def record(source: ImageSource, rows: np.ndarray) -> np.ndarray:
        if source is pool.validation.source:
            looked_at.extend(rows.tolist())
        return features(source, rows)

    monkeypatch.setattr(teacher, "features", record)
    pool.ask(teacher, np.arange(60))
    assert len(set(looked_at)) == 30
    assert len(np.unique(labels[looked_at])) >= 8


def test_a_pretrained_network_sees_all_images_once_at_the_side_of_the_baseline(pool, teacher):
    said = ask(pool, teacher)
    backbone = open_backbone(BACKBONE)
    seen = said.features["pretrained"]
    assert seen.shape == (1130, backbone.num_features)
    for split, row, place in (("train", 3, 3), ("validation", 4, 104), ("unlabeled", 5, 135)):
        # Four times the 16 pixels of these images.
        images = ImageSource(pool._dataset_dir, split, (64, 64), 1).take(np.array([row]))
        features = backbone(images)[0]
        np.testing.assert_allclose(seen[place], features / np.linalg.norm(features), atol=1e-4)
    kept = sorted((pool._checkpoint_dir / "features").rglob("*.npz"))
    pool.sample(500, 0)
    part = ask(pool, teacher).features["pretrained"]
    np.testing.assert_array_equal(part[130:], seen[130 + pool.asked])
    assert sorted((pool._checkpoint_dir / "features").rglob("*.npz")) == kept


@pytest.mark.parametrize("view", ["pretrained", "own"])
def test_foreign_is_what_the_best_network_at_hand_sees_far_from_what_the_model_has_learned(
    pool, teacher, monkeypatch, view
):
    if view == "own":
        monkeypatch.setattr(pretrained_view, "missing_weights", lambda _: "not at hand")
    said, known = ask(pool, teacher), np.arange(0, 100, 2)
    features = said.features[view]
    held, unlabeled = (
        cdist(each, features[known], "cosine").min(axis=1)
        for each in (features[100:130], features[130:])
    )
    limit = np.quantile(held, 0.95, method="higher")
    assert said.foreign_by == view
    assert said.filtered.limit == pytest.approx(limit, rel=1e-4)
    is_foreign = unlabeled > limit
    assert 0 < is_foreign.sum() < 500
    assert (said.filtered.is_foreign != is_foreign).sum() <= 1
    (first, *_) = said.foreign
    assert first.distance == pytest.approx(unlabeled.max(), rel=1e-4)


def test_without_weights_of_a_pretrained_network_there_are_other_neighbours(
    pool, teacher, monkeypatch
):
    monkeypatch.setattr(pretrained_view, "missing_weights", lambda _: "not at hand")
    assert pool.ways(ask(pool, teacher)) == ["own"]
    assert pool.affordable(teacher, 0, 10.0, 1) > 0


def test_images_that_a_pretrained_network_sees_too_take_longer(pool, teacher, monkeypatch):
    monkeypatch.setattr(pool, "seconds_per_image", lambda *_: 0.01)
    monkeypatch.setattr(pool._view, "seconds_per_image", lambda *_: 0.02)
    assert pool.affordable(teacher, 0, 10.0, 3) == pytest.approx(200)
    # Too many for a graph are not seen by it.
    monkeypatch.setattr(pool_module, "MAX_NODES", 300)
    assert pool.affordable(teacher, 0, 10.0, 3) == pytest.approx(1000 / 3)


def test_the_neighbours_are_taught_that_gain_most_on_the_judges(pool, teacher, monkeypatch):
    said, known = ask(pool, teacher), np.arange(0, 100, 2)
    judging = np.arange(1, 100, 2)
    # Of these features every image has the others of its class around it.
    generator = np.random.default_rng(0)
    truth = np.eye(10)[np.concatenate([pool._labels, hidden_labels(pool)])]
    held, unlabeled = np.split(generator.normal(size=truth.shape) + truth, [130])
    said = dataclasses.replace(said, held=held, unlabeled=unlabeled)
    truth += 0.01 * generator.random(truth.shape)
    ways: list[tuple[Neighbours, Neighbours]] = [("pretrained", "own"), ("own", "pretrained")]
    for way, other in ways:
        replaced = dataclasses.replace(said, features={other: truth[::-1], way: truth})
        monkeypatch.setattr(pool, "ask", lambda *_, replaced=replaced: replaced)
        lesson = make_lesson(pool, teacher, known, judging)
        assert lesson.neighbours == way
        assert lesson.refined is not None
        assert lesson.refined.is_accepted
        expected = pool.refine(replaced, known, way)
        taught = lesson.said.unlabeled * lesson.temperature
        np.testing.assert_allclose(taught, expected.unlabeled, rtol=1e-5)
        # Neighbours agree less than they know: by the judges, and then by the hidden labels.
        rows, hidden = said.filtered.rows, hidden_labels(pool)
        as_said, calibrated = (
            negative_log_likelihood(hidden[rows], each.unlabeled[rows])
            for each in (expected, lesson.said)
        )
        assert lesson.temperature < 0.8
        assert calibrated < 0.9 * as_said
        # What a trial has decided holds, whatever other judges say.
        later = make_lesson(pool, teacher, np.arange(100), np.zeros(0, int), lesson)
        assert (later.neighbours, later.temperature) == (way, lesson.temperature)
