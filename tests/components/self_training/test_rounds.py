"""Which students take the place of the model: rounds whose networks are given, none is trained."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kfp_vision.components.self_training.rounds import School
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.setup import complete_recipe

_DATA = {
    "class_weights": None,
    "primary_metric": "accuracy",
    "positive_class": None,
    "use_validation_for_training": False,
    "self_train": "auto",
}


@pytest.fixture
def school(few_judges_dir: Path, small_model: str, tmp_path: Path) -> School:
    """Of 100 training and 30 validation images."""
    info = read_json(DatasetInfo, few_judges_dir / "dataset.json")
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in _DATA.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=small_model, epochs=1))
    return School(few_judges_dir, info, recipe, tmp_path / "kept", 0, None)


def network(dataset: Path, labels: int) -> keras.Model:
    """Returns a linear network that has learned some of the test images."""
    images = open_labelled(dataset, "test", (16, 16, 1), get_task("multiclass"), 10)
    pixels, targets = images.take(np.arange(labels))
    fitted = LogisticRegression(max_iter=300).fit(
        pixels.reshape(labels, -1) / 255, targets["label"]
    )
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(flat))
    kernel, bias = np.zeros((256, 10)), np.zeros(10)
    kernel[:, fitted.classes_], bias[fitted.classes_] = fitted.coef_.T, fitted.intercept_
    model.layers[-1].set_weights([kernel, bias])
    return model


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("model_labels", "student_labels", "is_kept"), [(600, 40, False), (40, 600, True)]
)
def test_a_student_of_another_network_does_not_replace_a_better_model(
    school, few_judges_dir, tmp_path, monkeypatch, model_labels, student_labels, is_kept
):
    path = tmp_path / "model.keras"
    network(few_judges_dir, model_labels).save(path)
    before = digest(path)
    weak, student = (Teacher(network(few_judges_dir, labels)) for labels in (12, student_labels))
    monkeypatch.setattr(school, "_plain", lambda rows: weak)
    monkeypatch.setattr(school, "_train", lambda *_: (student, 1))
    result = school.teach(path, np.inf, Stopwatch())
    (trial,), (only,) = result.trials, result.rounds
    assert trial.is_kept
    assert only.judges == 30
    # Those of the report: over the model, not over the network that has taught the student.
    assert only.gain.value == pytest.approx(result.loss - only.loss)
    assert only.is_kept == (only.gain.high >= 0) == is_kept
    assert (digest(path) != before) == is_kept
