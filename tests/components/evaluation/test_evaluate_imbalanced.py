"""A network that loses to a line through the pixels, on classes of 8 to 1, is not passed."""

from pathlib import Path

import keras
import numpy as np
import pytest
from digits_artifacts import data_recipe, write_dataset

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.recipe.document import write_recipe

SPLITS = {"train": range(1500), "validation": range(1500, 2000), "test": range(2000, 3000)}
# Distance of the classes in standard deviations, along the direction that separates them best.
SEPARATION = 2.4


def write_planted(folder: Path, cosine: float, threshold: float, primary: str) -> Path:
    """Writes noise with a planted direction, and a model that looks along another one.

    Args:
        folder: Where to.
        cosine: Of the two directions; 1 is the best that there is.
        threshold: Above it, in standard deviations from the middle, the rare class is predicted.
        primary: The metric that decides.
    """
    generator = np.random.default_rng(0)
    labels = (np.arange(3000) % 9 == 0).astype(int)
    best, other = np.linalg.qr(generator.normal(size=(64, 2)))[0].T
    shift = np.outer(SEPARATION * (labels - 0.5), best)
    pixels = 128 + 25 * (generator.normal(size=(3000, 64)) + shift)
    images = pixels.round().clip(0, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    write_dataset(folder / "dataset", "binary", images, [[label] for label in labels], SPLITS)

    direction = (cosine * best + np.sqrt(1 - cosine**2) * other) / 25
    weights = np.stack([np.zeros(64), direction], axis=1)
    bias = np.array([0.0, -128 * direction.sum() - threshold])
    inputs = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([weights, bias])
    (folder / "model").mkdir()
    model.save(folder / "model/model.keras")
    write_recipe(data_recipe("binary", primary), folder / "model/recipe.json")
    return folder


def evaluate(folder: Path) -> Evaluation:
    config = EvaluateConfig(num_resamples=300)
    return evaluate_model(folder / "dataset", folder / "model", folder / "evaluation", config)


@pytest.mark.parametrize(
    ("primary", "threshold"), [("balanced_accuracy", 0.5), ("balanced_accuracy", 0.0), ("auroc", 0)]
)
def test_a_model_below_the_linear_baseline_is_rejected(
    primary: str, threshold: float, tmp_path: Path
) -> None:
    evaluation = evaluate(write_planted(tmp_path, 0.7, threshold, primary))
    scores, linear = evaluation.metrics["test"], evaluation.baselines["linear"]
    # It beats the class frequencies by far: that alone is not enough.
    assert evaluation.baselines["zero_rule"][primary]["difference"]["ci95"][0] > 0.1
    assert scores["auroc"]["value"] == pytest.approx(0.88, abs=0.03)
    assert linear["auroc"]["value"] == pytest.approx(0.95, abs=0.03)
    assert linear["auroc"]["difference"]["ci95"][1] < 0
    assert (evaluation.passed, evaluation.outcome) == (False, "rejected")
    assert "clearly below the baseline `linear`" in " ".join(evaluation.reasons)


def test_the_best_direction_cannot_be_told_from_the_linear_baseline(tmp_path: Path) -> None:
    evaluation = evaluate(write_planted(tmp_path, 1.0, 0.0, "balanced_accuracy"))
    assert (evaluation.passed, evaluation.outcome) == (True, "indistinguishable")
    assert evaluation.best_baseline in ("linear", "nearest_centroid")
    assert "cannot be told from" in evaluation.sentence
    # Accuracy below that of the larger class is no fault where every class counts the same.
    assert evaluation.metrics["test"]["accuracy"]["value"] < 0.9
