"""evaluate_model on real digits: what it writes agrees with the images, the model and sklearn."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from digits_artifacts import data_recipe
from sklearn import metrics as sk

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.evaluation.formats import FORMATS
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, PositiveClass
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import write_recipe


def test_file_says_what_was_returned(evaluated):
    _, evaluation, folder = evaluated
    assert read_json(Evaluation, folder / "evaluation.json") == evaluation


@pytest.mark.usefixtures("evaluated")
def test_every_long_phase_names_itself(phases):
    expected = {"evaluate validation", "evaluate test", "intervals", "fit a head"}
    expected |= {f"features {split}" for split in ("train", "validation", "test")}
    expected |= {"baselines: read train", "baselines: linear", "mistakes and curves"}
    assert expected <= phases.of["evaluate"]


def test_model_file_gives_the_probabilities_of_the_table_without_our_code(evaluated):
    trained, _, folder = evaluated
    table = pq.read_table(folder / "predictions.parquet")
    columns = [name for name in table.column_names if name.startswith("p_")]
    recorded = np.stack([table[name].to_numpy() for name in columns], axis=1)
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    config = json.dumps(model.get_config())
    assert "kfp_vision" not in config
    predicted = model.predict(trained.images[1300:], verbose=0)
    np.testing.assert_allclose(predicted, recorded, atol=1e-5)
    if trained.task != "multilabel":
        np.testing.assert_allclose(recorded.sum(axis=1), 1.0, atol=1e-5)


def test_metrics_are_those_of_the_table(evaluated):
    trained, evaluation, folder = evaluated
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    if trained.task == "multilabel":
        names = ["even", "high", "zero"]
        truth = np.array([[name in row.split("|") for name in names] for row in table["label"]])
        scores = np.stack([table[f"p_{name}"] for name in names], axis=1)
        expected = sk.average_precision_score(truth, scores)
    elif trained.task == "multiclass":
        expected = sk.accuracy_score(table["label"], table["predicted"])
    else:
        expected = sk.balanced_accuracy_score(table["label"], table["predicted"])
    primary = evaluation.metrics["test"][evaluation.primary]
    assert primary["value"] == pytest.approx(expected)
    low, high = primary["ci95"]
    assert low < expected < high


def test_every_image_is_in_the_table_once(evaluated):
    _, _, folder = evaluated
    paths = pq.read_table(folder / "predictions.parquet")["path"].to_pylist()
    assert paths == [f"test/{index}.png" for index in range(1300, 1797)]


def test_trained_model_passes_and_beats_the_baselines(evaluated):
    _, evaluation, _ = evaluated
    assert evaluation.passed
    assert evaluation.reasons == []
    scores = {name: row[evaluation.primary]["value"] for name, row in evaluation.baselines.items()}
    assert scores["zero_rule"] < scores["nearest_centroid"] <= scores["linear"] + 0.05
    assert evaluation.metrics["test"][evaluation.primary]["value"] > scores["zero_rule"]


def test_confusion_adds_up_to_the_class_counts(evaluated):
    trained, evaluation, _ = evaluated
    counts = [row["count"] for row in evaluation.per_class]
    assert sum(counts) == sum(len(row) for row in trained.labels[1300:])
    if trained.task == "multilabel":
        assert evaluation.confusion == []
    else:
        confusion = np.array(evaluation.confusion)
        assert confusion.sum(axis=1).tolist() == counts
        recall = confusion.diagonal() / confusion.sum(axis=1)
        np.testing.assert_allclose([row["recall"] for row in evaluation.per_class], recall)


def test_curves_hold_the_area_that_the_metric_has(evaluated):
    _, evaluation, _ = evaluated
    by_class = {row["class"]: row["auroc"] for row in evaluation.per_class}
    for name, curve in evaluation.curves["roc"].items():
        assert len(curve["x"]) <= 200
        assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx(by_class[name], abs=0.01)


def test_mistakes_are_wrong_and_sorted(evaluated):
    _, evaluation, _ = evaluated
    assert len(evaluation.mistakes) == 5
    confidences = [mistake["confidence"] for mistake in evaluation.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    for mistake in evaluation.mistakes:
        assert mistake["label"] != mistake["predicted"]
        assert mistake["thumbnail"].startswith("data:image/png;base64,")


def test_cost_counts_validation_and_test_images(evaluated):
    _, _, folder = evaluated
    assert read_json(StageCost, folder / "cost.json").images_seen == 300 + 497


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
@pytest.mark.parametrize("positive", ["low", "high"])
def test_ranking_is_of_the_positive_class_in_every_figure(trained, positive, tmp_path, monkeypatch):
    model_dir, folder = tmp_path / "model", tmp_path / "evaluation"
    shutil.copytree(trained.model_dir, model_dir)
    write_recipe(data_recipe("binary", "average_precision", positive), model_dir / "recipe.json")
    config = EvaluateConfig(num_resamples=100)
    evaluation = evaluate_model(trained.dataset_dir, model_dir, folder, config)
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    truth = np.array(table["label"]) == positive
    expected = sk.average_precision_score(truth, table[f"p_{positive}"])
    assert expected < 1
    assert evaluation.metrics["test"]["average_precision"]["value"] == pytest.approx(expected)
    # Whoever knows the frequencies alone is right as often as the class is there.
    known = evaluation.baselines["zero_rule"]["average_precision"]["value"]
    assert known == pytest.approx(truth.mean())
    assert evaluation.positive_class == PositiveClass(positive, 0.5)
    assert [[*lines] for lines in evaluation.curves.values()] == [[positive]] * 2
    written = {name: FORMATS[name] for name in ("keras", "saved_model")}
    monkeypatch.setattr("kfp_vision.components.evaluation.export.FORMATS", written)
    exports = export_model(trained.dataset_dir, folder, tmp_path / "exports", ExportConfig())
    keras_file = next(export for export in exports if export.format == "keras")
    assert keras_file.metrics["average_precision"] == pytest.approx(expected)


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_model_that_says_the_same_of_every_image_is_rejected(trained, tmp_path):
    constant = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, kernel_initializer="zeros"),
        ]
    )
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    constant.save(model_dir / "model.keras")
    (model_dir / "recipe.json").write_text((trained.model_dir / "recipe.json").read_text())
    evaluation = evaluate_model(trained.dataset_dir, model_dir, tmp_path / "out", EvaluateConfig())
    assert not evaluation.passed
    assert "not clearly above" in evaluation.reasons[0]


@pytest.mark.parametrize(
    "wrong", [{"num_resamples": 99}, {"num_mistakes": -1}, {"seed": -1}], ids=str
)
def test_config_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="Received"):
        dataclasses.replace(EvaluateConfig(), **wrong)
