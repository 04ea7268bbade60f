"""The KFP components that end the pipeline: results are copied, then the model is checked."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component

__all__ = ["check_model", "publish"]


@component
def publish(
    records: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Input[dsl.Artifact],
    sources: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    run_id: str,
    output_uri: str,
    champion_uri: str,
    dataset_uri: str,
    dataset_version: str,
    split_version: str,
    seed: int,
) -> None:
    """Builds the report, copies the results to the output, and promotes the model or keeps it."""
    from pathlib import Path

    from kfp_vision.components.reporting.component import build_report, write_summary
    from kfp_vision.components.shared.champions.store import ImportFacts
    from kfp_vision.components.shared.report.records import mlflow_run_before
    from kfp_vision.components.shared.runtime.tracking import take_tracking_failures, tracked
    from kfp_vision.pipelines.champions.promotion import enter_champions
    from kfp_vision.pipelines.publishing.publish import publish_results
    from kfp_vision.pipelines.retraining.last_success import record_success

    build_report.python_func(stages=records, report=report, page=page)
    folders = (Path(evaluation.path), Path(exports.path), Path(report.path))
    publish_results(*folders, output_uri, report.uri, run_id)
    write_summary(report.path, output_uri, summary.path)
    with tracked(mlflow_run_before(records)) as tracker:
        if tracker:
            files = ("report.html", "report.json")
            tracker.upload([folders[2] / name for name in files] + [folders[1] / "recipe.json"])
            tracker.end()
    for failure in take_tracking_failures():
        print(failure)
    if champion_uri:
        imported = ImportFacts(dataset_uri, dataset_version, seed)
        read = Path(sources.path)
        # Without a record the next look tries again.
        if enter_champions(*folders, read, champion_uri, output_uri, imported, split_version):
            record_success(champion_uri, read)


@component
def check_model(records: dsl.Input[dsl.Artifact]) -> None:
    """Fails when the model is rejected; the last line of the log says why.

    A task after `publish`: what can be published is, and publishing did not fail. It reads what the
    report is built from, not the report, which is new in every run: so it is cached.
    """
    import sys

    from kfp_vision.components.reporting.component import rejection_reason
    from kfp_vision.pipelines.publishing.publish import REJECTED

    if reason := rejection_reason(records.path):
        # Not an exception: a traceback would hide the sentence.
        sys.exit(REJECTED + reason)
