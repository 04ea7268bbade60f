"""The last lines of a run on a cluster, and the exit code of what has followed it."""

import kfp
from rich.console import Console

from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.pipelines.cluster.pods import Pods
from kfp_vision.pipelines.cluster.reasons import attempt_reason, failed_stage, rejection_of
from kfp_vision.pipelines.cluster.results import ReplacedError, read_report
from kfp_vision.pipelines.cluster.runs import Run, run_page
from kfp_vision.pipelines.local.closing_lines import print_results
from kfp_vision.pipelines.local.display import format_duration

__all__ = ["PASSED", "REJECTED", "UNFINISHED", "print_ending"]

PASSED, REJECTED, UNFINISHED = 0, 1, 2


def print_ending(client: kfp.Client, run: Run, command: str, console: Console) -> int:
    """Prints how a run has ended, and returns the exit code for it.

    Args:
        client: Of the server.
        run: That has ended.
        command: That shows the run, for what is left to say.
        console: To print on.
    """
    pods = Pods(client, run.run_id, run.workflow.namespace)
    if run.state == "SUCCEEDED":
        _print_results(client, run, console)
        return PASSED
    if run.canceled:
        _print(f"\nThe run was canceled after {format_duration(run.seconds)}.", console, "red")
        return UNFINISHED
    if reason := rejection_of(run, pods):
        _print_results(client, run, console)
        _print(reason, console, "bold red")
        return REJECTED
    stage = failed_stage(run)
    if stage is None:
        _print(f"\nThe run failed: {run.workflow.message or run.state}", console, "red")
    else:
        last = stage.attempts[-1]
        text = f"\n{stage.name} failed: {attempt_reason(pods, last)}"
        text += f"\nFull log: {command} --log {stage.name}, of the pod {last.pod}"
        _print(text, console, "red")
    _print(f"Run      {run_page(client, run.run_id)}", console)
    return UNFINISHED


def _print_results(client: kfp.Client, run: Run, console: Console) -> None:
    time = f"Wall clock {format_duration(run.seconds)}."
    page = run_page(client, run.run_id)
    # A run that had nothing to do leaves the results of another one in its output.
    if not run.published:
        _print(f"The run has published nothing. {time}\nRun      {page}", console)
        return
    try:
        print_results(read_report(client, run), run.output_uri, time, {"Run": page}, console)
    except ReplacedError as error:
        _print(f"{time}\n{error}\nRun      {page}", console)
    except StorageError as error:
        # The pods may reach a bucket that this machine does not.
        _print(f"{time}\nReport   {run.output_uri}/report.html, not read here: {error}", console)
        _print(f"Run      {page}", console)


def _print(text: str, console: Console, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
