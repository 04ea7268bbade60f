"""The KFP operations run as plain functions, on real artifacts."""

import numpy as np
import pytest
from kfp import dsl

from kfp_vision.components.evaluation import component
from kfp_vision.components.evaluation.calibration_images import (
    calibration_rows,
    write_calibration_images,
)
from kfp_vision.components.shared.artifacts.cost import COST_FILE
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.datasets.train_sample import write_train_sample
from kfp_vision.components.shared.report.records import read_stages

pytestmark = pytest.mark.long


@pytest.mark.parametrize("trained", ["binary", "multilabel"], indirect=True)
def test_evaluate_fills_the_artifacts_of_the_kfp_page(trained, divided, tmp_path):
    evaluation = dsl.Artifact(uri=str(tmp_path / "evaluation"))
    metrics, classification = dsl.Metrics(), dsl.ClassificationMetrics()
    write_train_sample(trained.dataset_dir, tmp_path / "train_sample")
    component.evaluate_model.python_func(
        **divided(trained.dataset_dir, "validation", "test"),
        train_sample=dsl.Dataset(uri=str(tmp_path / "train_sample")),
        model=dsl.Model(uri=str(trained.model_dir)),
        evaluation=evaluation,
        calibration=dsl.Dataset(uri=str(tmp_path / "calibration")),
        metrics=metrics,
        classification=classification,
        checkpoint_uri=str(tmp_path / "checkpoints"),
        image_cache_gib=1.0,
    )
    assert len(list((tmp_path / "checkpoints/features").glob("*/*.npz"))) == 3
    assert metrics.metadata["passed"] == 1.0
    assert (tmp_path / "evaluation" / COST_FILE).exists()
    if trained.task == "multilabel":
        assert 0 < metrics.metadata["test_macro_f1"] <= 1
        assert classification.metadata == {}
    else:
        rows = classification.metadata["confusionMatrix"]["rows"]
        assert sum(sum(row["row"]) for row in rows) == 497
        curve = classification.metadata["confidenceMetrics"]
        assert curve[-1]["recall"] == curve[-1]["falsePositiveRate"] == 1.0


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_export_says_per_format_how_it_went(evaluated, divided, tmp_path):
    trained, _, evaluation_dir = evaluated
    exports = dsl.Artifact(uri=str(tmp_path / "exports"))
    calibration = dsl.Dataset(uri=str(tmp_path / "calibration"))
    records = dsl.Artifact(uri=str(tmp_path / "records"))
    write_calibration_images(trained.dataset_dir, tmp_path / "calibration")
    component.export_model.python_func(
        **divided(trained.dataset_dir, "test"),
        calibration=calibration,
        records=records,
        evaluation=dsl.Artifact(uri=str(evaluation_dir)),
        exports=exports,
        checkpoint_uri=str(tmp_path / "checkpoints"),
        image_cache_gib=1.0,
    )
    assert set(exports.metadata.values()) == {"passed"}
    # Of the images of `train`, those that were drawn are enough.
    images, whole = (
        np.array(open_split(folder, "train")["image"].to_pylist(), object)
        for folder in (tmp_path / "calibration", trained.dataset_dir)
    )
    drawn = calibration_rows(len(whole))
    assert (images[drawn] == whole[drawn]).all()
    assert np.flatnonzero(images).tolist() == sorted(drawn)
    assert (tmp_path / "exports/model_int8.tflite").exists()
    assert len(read_stages(tmp_path / "records")) == 1
