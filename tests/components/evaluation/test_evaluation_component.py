"""The KFP operations run as plain functions, on real artifacts."""

import pytest
from kfp import dsl

from kfp_vision.components.evaluation import component
from kfp_vision.components.shared.artifacts.cost import COST_FILE


@pytest.mark.parametrize("trained", ["binary", "multilabel"], indirect=True)
def test_evaluate_fills_the_artifacts_of_the_kfp_page(trained, divided, tmp_path):
    evaluation = dsl.Artifact(uri=str(tmp_path / "evaluation"))
    metrics, classification = dsl.Metrics(), dsl.ClassificationMetrics()
    component.evaluate_model.python_func(
        **divided(trained.dataset_dir, "train", "validation", "test"),
        model=dsl.Model(uri=str(trained.model_dir)),
        evaluation=evaluation,
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
    component.export_model.python_func(
        **divided(trained.dataset_dir, "train", "test"),
        evaluation=dsl.Artifact(uri=str(evaluation_dir)),
        exports=exports,
        checkpoint_uri=str(tmp_path / "checkpoints"),
        image_cache_gib=1.0,
    )
    assert set(exports.metadata.values()) == {"passed"}
    assert (tmp_path / "exports/model_int8.tflite").exists()
