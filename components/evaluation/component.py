"""The KFP components of the last stages: evaluation, export and report."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def evaluate_model(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Scores the model on the test split beside baselines, and calibrates it."""
    from pathlib import Path

    from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics

    result = evaluate_model(
        Path(dataset.path), Path(model.path), Path(evaluation.path), EvaluateConfig()
    )
    for split, scores in result.metrics.items():
        log_metrics(metrics, {f"{split}_{name}": score["value"] for name, score in scores.items()})
    for name, scores in result.baselines.items():
        value = scores.get(result.primary, {}).get("value")
        log_metrics(metrics, {f"{name}_{result.primary}": value})
    log_metrics(metrics, {"passed": result.passed})
    # The KFP page draws one cell per pair of classes: beyond this it is no longer readable.
    if 0 < len(result.confusion) <= 50:
        classes = [row["class"] for row in result.per_class]
        classification.log_confusion_matrix(classes, result.confusion)
    # A test split of one class has no curve.
    if len(result.confusion) == 2 and result.curves["roc"]:
        (curve,) = result.curves["roc"].values()
        classification.log_roc_curve(curve["x"], curve["y"], curve["threshold"])


@component
def export_model(
    dataset: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Output[dsl.Artifact],
) -> None:
    """Exports the model to five formats and measures each in its own runtime."""
    from pathlib import Path

    from kfp_vision.components.evaluation.export import ExportConfig, export_model

    results = export_model(
        Path(dataset.path), Path(evaluation.path), Path(exports.path), ExportConfig()
    )
    for export in results:
        exports.metadata[export.format] = "passed" if export.passed else export.reason


@component
def build_report(
    dataset: dsl.Input[dsl.Dataset],
    profile: dsl.Input[dsl.Artifact],
    probe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    search: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Builds the page and the JSON that tell the whole run."""
    from pathlib import Path

    from kfp_vision.components.evaluation.report.build import build_report

    inputs = (dataset, profile, probe, augmentation, search, model, evaluation, exports)
    build_report(*(Path(artifact.path) for artifact in (*inputs, report)))
    Path(page.path).write_bytes((Path(report.path) / "report.html").read_bytes())
