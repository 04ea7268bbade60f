"""The KFP component of the report."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def build_report(
    stages: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Builds the page and the JSON that tell the whole run.

    Args:
        stages: What the last stage wrote; it holds what all stages have handed on.
        report: The page, the JSON and the cost.
        page: The page alone.
    """
    from pathlib import Path

    from kfp_vision.components.reporting.build import build_report

    build_report(Path(stages.path), Path(report.path))
    Path(page.path).write_bytes((Path(report.path) / "report.html").read_bytes())


def rejection_reason(stages_dir: str) -> str:
    """Returns why the model is rejected, as the report says it; empty when it is not."""
    from pathlib import Path

    from kfp_vision.components.reporting.report_json import summarise
    from kfp_vision.components.shared.report.records import read_stages

    return str(summarise(read_stages(Path(stages_dir)))["reason"])


def write_summary(report_dir: str, output_uri: str, path: str) -> None:
    """Writes the verdict as Markdown, once it is known where the results go."""
    import json
    from pathlib import Path

    from kfp_vision.components.reporting.summary import markdown_summary

    report = json.loads((Path(report_dir) / "report.json").read_text(encoding="utf-8"))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(markdown_summary(report, output_uri), encoding="utf-8")
