"""A run at one moment: its stages, and the log of one."""

import kfp
from rich.console import Console
from rich.table import Table

from kfp_vision.pipelines.cluster.pods import Pods
from kfp_vision.pipelines.cluster.runs import Run, run_page
from kfp_vision.pipelines.cluster.workflow import Stage
from kfp_vision.pipelines.local.display import format_duration

__all__ = ["print_log", "print_stages"]


def print_stages(client: kfp.Client, run: Run, console: Console) -> None:
    """Prints the state of a run, and of every stage that has begun."""
    pods = Pods(client, run.run_id, run.workflow.namespace)
    state = "canceled" if run.canceled and run.ended else run.state.lower() or "pending"
    console.print(f"{run.name}: {state}", markup=False, highlight=False)
    table = Table()
    table.add_column("stage")
    table.add_column("state")
    table.add_column("time", justify="right")
    for stage in run.workflow.stages:
        seconds = format_duration(stage.seconds) if stage.seconds else ""
        table.add_row(stage.name, _describe(stage, pods), seconds)
    console.print(table)
    console.print(f"Run      {run_page(client, run.run_id)}", markup=False, soft_wrap=True)


def _describe(stage: Stage, pods: Pods) -> str:
    tries = len(stage.attempts)
    text = stage.state + (f", attempt {tries}" if tries > 1 else "")
    if stage.state == "waiting" and stage.attempts:
        last = stage.attempts[-1]
        reason = pods.why_waiting(last.pod, last.message)
        return f"{text}: {reason}" if reason else text
    return text


def print_log(client: kfp.Client, run: Run, name: str) -> None:
    """Prints the log of the last attempt of a stage.

    Raises:
        ValueError: No such stage has begun, or its log cannot be had.
    """
    stages = {stage.name: stage for stage in run.workflow.stages if stage.attempts}
    if name not in stages:
        raise ValueError(
            f"`log` must be a stage that has begun. Received: {name!r}. These have: "
            f"{', '.join(stages) or 'none'}"
        )
    pod = stages[name].attempts[-1].pod
    lines = Pods(client, run.run_id, run.workflow.namespace).log(pod)
    if not lines:
        raise ValueError(f"The server must have the log of {name}. Received: none of pod {pod}.")
    print("\n".join(lines))
