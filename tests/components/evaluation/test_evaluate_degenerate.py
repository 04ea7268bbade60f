"""Splits that measure little or nothing: scored without a crash, and never without a reason."""

from pathlib import Path

import keras
import numpy as np
import pytest
from digits_artifacts import data_recipe, digit_labels, write_dataset
from kfp import dsl
from sklearn.datasets import load_digits

from kfp_vision.components.evaluation import component
from kfp_vision.components.shared.artifacts.artifact_parts import move_files
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import write_recipe

pytestmark = pytest.mark.long

PRIMARY = {
    "binary": "balanced_accuracy",
    "multiclass": "accuracy",
    "multilabel": "mean_average_precision",
}
DIGITS = load_digits()
ROWS = np.arange(len(DIGITS.target))


def rows_of(*digits: int) -> np.ndarray:
    return np.flatnonzero(np.isin(DIGITS.target, digits))


# Name -> (split that is replaced, its rows, what is measured on it is enough to pass).
SPLITS = {
    "test of one class": {"test": rows_of(3)[:60]},
    "test of two images": {"test": ROWS[1000:1002]},
    "test of one image": {"test": ROWS[1000:1001]},
    "test without most classes": {"test": rows_of(0, 1)[100:180]},
    "test of one image many times": {"test": np.full(60, 1000)},
    "validation of one image": {"validation": ROWS[700:701]},
    "validation of one class": {"validation": rows_of(3)[:60]},
    "train of one class": {"train": rows_of(3)[:60]},
    "train of two images": {"train": ROWS[:2]},
}


@pytest.mark.parametrize("task", PRIMARY)
@pytest.mark.parametrize("case", SPLITS)
def test_a_split_that_tells_nothing_is_scored(task: str, case: str, tmp_path: Path) -> None:
    splits = {"train": ROWS[:200], "validation": ROWS[700:800], "test": ROWS[1000:1100]}
    evaluation, metrics = evaluate(tmp_path, task, {**splits, **SPLITS[case]})
    # The model says nothing, so the reason is never that a baseline lacks the metric.
    assert not evaluation.passed
    assert evaluation.reasons
    assert evaluation.sentence == evaluation.reasons[0]
    assert metrics["passed"] == 0.0


@pytest.mark.parametrize("task", PRIMARY)
@pytest.mark.parametrize("level", [0, 255])
def test_constant_images_are_scored(task: str, level: int, tmp_path: Path) -> None:
    splits = {"train": ROWS[:200], "validation": ROWS[700:800], "test": ROWS[1000:1100]}
    evaluation, _ = evaluate(tmp_path, task, splits, level)
    assert not evaluation.passed
    # One image, one answer: no baseline can be better than the class frequencies either.
    scores = [held[PRIMARY[task]]["value"] for held in evaluation.baselines.values()]
    assert max(scores) == pytest.approx(scores[0], abs=0.02)


def test_labels_that_no_test_image_has_leave_the_metric_undefined(tmp_path: Path) -> None:
    splits = {"train": ROWS[:200], "validation": ROWS[700:800], "test": rows_of(1, 3)[:80]}
    evaluation, metrics = evaluate(tmp_path, "multilabel", splits)
    assert evaluation.primary not in evaluation.metrics["test"]
    assert "not defined on the test split" in evaluation.sentence
    assert metrics["passed"] == 0.0


@pytest.mark.parametrize("primary", ["auroc", "average_precision", "no_such_metric"])
def test_a_primary_metric_that_one_class_cannot_define(primary: str, tmp_path: Path) -> None:
    splits = {"train": ROWS[:200], "validation": ROWS[700:800], "test": rows_of(1)[:60]}
    evaluation, _ = evaluate(tmp_path, "binary", splits, primary=primary)
    assert f"`{primary}` is not defined on the test split" in evaluation.sentence


def evaluate(
    folder: Path,
    task: str,
    splits: dict[str, np.ndarray],
    level: int | None = None,
    primary: str = "",
) -> tuple[Evaluation, dict[str, float]]:
    """Evaluates a model that says the same of every image, as the KFP operation does."""
    images = (DIGITS.images * 15.9).astype(np.uint8)[..., None]
    if level is not None:
        images = np.full_like(images, level)
    labels = [digit_labels(task, digit) for digit in DIGITS.target]
    write_dataset(folder / "dataset", task, images, labels, splits)
    parts = {name: dsl.Dataset(uri=str(folder / name)) for name in splits}
    for name, split in parts.items():
        move_files(folder / "dataset", split, f"{name}.arrow")
    pixels = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(
        {"binary": 2, "multiclass": 10, "multilabel": 3}[task], kernel_initializer="zeros"
    )(keras.layers.Flatten()(pixels))
    (folder / "model").mkdir()
    keras.Model(pixels, logits).save(folder / "model/model.keras")
    write_recipe(data_recipe(task, primary or PRIMARY[task]), folder / "model/recipe.json")
    metrics = dsl.Metrics()
    component.evaluate_model.python_func(
        dataset_info=dsl.Artifact(uri=str(folder / "dataset")),
        train_sample=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        model=dsl.Model(uri=str(folder / "model")),
        evaluation=dsl.Artifact(uri=str(folder / "evaluation")),
        calibration=dsl.Dataset(uri=str(folder / "calibration")),
        metrics=metrics,
        classification=dsl.ClassificationMetrics(),
        checkpoint_uri="",
        image_cache_gib=0.0,
    )
    return read_json(Evaluation, folder / "evaluation/evaluation.json"), metrics.metadata
