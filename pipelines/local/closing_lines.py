"""The last lines of a run: metrics, cost and where the results are, or why it failed."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison
from kfp_vision.components.shared.report.figures import label_within, size
from kfp_vision.components.shared.runtime.storage import is_remote, open_folder
from kfp_vision.pipelines.champions.promotion import describe_outcome
from kfp_vision.pipelines.local.display import format_duration
from kfp_vision.pipelines.local.run_record import RunResult, local_folder

__all__ = ["describe_failure", "print_results", "print_summary"]


def describe_failure(result: RunResult) -> str:
    """Returns which stage failed and why, where its log is, and where earlier results are."""
    failed = [stage.name for stage in result.stages if stage.outcome == "failed"]
    text = f"{failed[0] if failed else 'The pipeline'} failed: {result.reason}"
    text += f"\nFull log: {result.log}"
    if result.previous:
        text += f"\nThe results of the previous run are now in {result.previous}"
    return text


def print_summary(result: RunResult, output_uri: str, console: Console) -> None:
    """Prints metrics, cost and places of a finished run, and why its model is rejected."""
    output_uri = output_uri.rstrip("/")
    logs = f"{output_uri}/logs" if is_remote(output_uri) else str(local_folder(output_uri) / "logs")
    time = (
        f"Wall clock {format_duration(result.seconds)}, of which orchestration "
        f"{result.orchestration_share:.0%} (start-up of tasks, imports, bookkeeping)."
    )
    report = json.loads(open_folder(output_uri)[0].read("report.json"))
    print_results(report, output_uri, time, {"Logs": logs}, console)
    if result.status == "rejected":
        console.print(
            result.reason, style="bold red", markup=False, highlight=False, soft_wrap=True
        )


def print_results(
    report: Mapping[str, Any], output_uri: str, time: str, more: Mapping[str, str], console: Console
) -> None:
    """Prints the metrics of a run, and where its results lie.

    Args:
        report: `report.json` of the run.
        output_uri: Of the run, without a slash at the end.
        time: A line about the time that it took.
        more: Other places to look at, by name.
        console: To print on.
    """
    _print_report(report, console)
    console.print(time, highlight=False, soft_wrap=True)
    places = {
        "Report": f"{output_uri}/report.html",
        "Models": f"{output_uri}/model",
        "Recipe": f"{output_uri}/recipe.json",
        **more,
    }
    # A format without metrics could not be written.
    if not any(export["metrics"] for export in report["exports"]):
        del places["Models"]
    for name, path in places.items():
        console.print(f"{name:<8} {path}", markup=False, highlight=False, soft_wrap=True)
    if comparison := report.get("champion"):
        line = describe_outcome(ChampionComparison(**comparison))
        console.print(line, style="bold", markup=False, highlight=False, soft_wrap=True)


def _print_report(report: Mapping[str, Any], console: Console) -> None:
    primary = report["metrics"]["primary"]
    scores = {
        "this model": report["metrics"]["test"],
        "this model, validation": report["metrics"]["validation"],
        **{f"baseline {name}": metrics for name, metrics in report["baselines"].items()},
    }
    title = f"{report['task']}: {report['status']}"
    # Absent from a report of an earlier version.
    if short := report.get("shortfall"):
        title += f", {short}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column(label_within(primary), justify="right")
    table.add_column("95 % interval", justify="right")
    for name, metrics in scores.items():
        if score := metrics.get(primary):
            low, high = score["ci95"]
            table.add_row(name, f"{score['value']:.4f}", f"{low:.4f} .. {high:.4f}")
    for export in report["exports"]:
        value = export["metrics"].get(primary)
        figures = f", {size(export['size_bytes'])}, {export['latency_ms']:.1f} ms"
        table.add_row(
            f"{export['format']} file{figures if export['metrics'] else ''}",
            "-" if value is None else f"{value:.4f}",
            "passed" if export["passed"] else "[red]failed[/]",
        )
    console.print(table)
    for warning in report["warnings"]:
        console.print(
            f"Warning {warning['code']} ({warning['count']}): {warning['message']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    cost = report["cost"]
    console.print(
        f"Cost: plain training {format_duration(cost['plain_training_s'])}, all stages "
        f"{format_duration(cost['total_s'])}, {cost['multiple'] or 0:.2f} x plain training.",
        highlight=False,
    )
