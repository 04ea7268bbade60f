"""The KFP components of the evaluation and the export."""

from typing import Any

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def evaluate_model(
    dataset_info: dsl.Input[dsl.Artifact],
    train_sample: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    calibration: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    champion_uri: str = "",
    champion_version: str = "",
    champion_rule: str = "not_worse",
    champion_margin: float = 0.02,
) -> None:
    """Scores the model on the test split beside baselines and the champion, and calibrates it.

    Features of frozen networks are kept in `checkpoint_uri`, a folder that outlives the task.
    """
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import hand_on, mlflow_run_before
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.runtime.progress import Progress
    from kfp_vision.components.shared.runtime.tracking import tracked
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    with Progress("start TensorFlow"):
        from kfp_vision.components.evaluation import server_page
        from kfp_vision.components.evaluation.calibration_images import write_calibration_images
        from kfp_vision.components.evaluation.champion import fetched_champion
        from kfp_vision.components.evaluation.champion_rules import Gate
        from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model

    gate = Gate(champion_rule, champion_margin)
    with (
        join_parts(dataset_info, train_sample, validation, test) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
        fetched_champion(champion_uri, champion_version, gate) as champion,
    ):
        result = evaluate_model(
            dataset_dir,
            Path(model.path),
            Path(evaluation.path),
            EvaluateConfig(),
            checkpoints / "features",
            image_cache(checkpoint_uri, image_cache_gib),
            champion,
        )
        write_calibration_images(dataset_dir, Path(calibration.path))
    with tracked(mlflow_run_before(model)) as tracker:
        if tracker:
            tracker.log(server_page.test_scores(result), server_page.tags(result))
    hand_on(evaluation, "evaluation", model)
    log_metrics(metrics, server_page.scalars(result))
    if result.confusion:
        classes = [row["class"] for row in result.per_class]
        classification.log_confusion_matrix(*server_page.confusion_table(classes, result.confusion))
    if curve := server_page.roc_curve(result):
        classification.log_roc_curve(curve["x"], curve["y"], curve["threshold"])


@component
def export_model(
    dataset_info: dsl.Input[dsl.Artifact],
    calibration: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Output[dsl.Artifact],
    records: dsl.Output[dsl.Artifact],
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Exports the model to five formats and measures each in its own runtime.

    `records` holds what the report reads, without the models.
    """
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import copy_records, hand_on
    from kfp_vision.components.shared.runtime.progress import Progress

    with Progress("start TensorFlow"):
        from kfp_vision.components.evaluation.export import ExportConfig, export_model

    with join_parts(dataset_info, calibration, test) as dataset_dir:
        results = export_model(
            dataset_dir,
            Path(evaluation.path),
            Path(exports.path),
            ExportConfig(),
            image_cache(checkpoint_uri, image_cache_gib),
        )
    hand_on(exports, "exports", evaluation)
    copy_records(exports, records)
    for export in results:
        exports.metadata[export.format] = "passed" if export.passed else export.reason


def score_on_splits(*asked: Any) -> Any:
    """Returns what `champion_on_splits.score_on_splits` does."""
    from kfp_vision.components.evaluation import champion_on_splits

    return champion_on_splits.score_on_splits(*asked)
