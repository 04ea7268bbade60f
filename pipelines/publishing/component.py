"""The KFP components that end the pipeline: results are copied, then the model is checked."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component

__all__ = ["check_model", "publish"]


@component
def publish(
    records: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    output_uri: str,
) -> None:
    """Builds the report, and copies the results of a run to the output."""
    from pathlib import Path

    from kfp_vision.components.reporting.component import build_report
    from kfp_vision.pipelines.publishing.publish import publish_results

    build_report.python_func(stages=records, report=report, page=page)
    publish_results(
        Path(evaluation.path), Path(exports.path), Path(report.path), output_uri, report.uri
    )


@component
def check_model(report: dsl.Input[dsl.Artifact]) -> None:
    """Fails when the model is rejected; the last line of the log says why.

    A task after `publish`: what can be published is, and publishing did not fail.
    """
    import sys
    from pathlib import Path

    from kfp_vision.pipelines.publishing.publish import REJECTED, rejection

    if reason := rejection(Path(report.path)):
        # Not an exception: a traceback would hide the sentence.
        sys.exit(REJECTED + reason)
