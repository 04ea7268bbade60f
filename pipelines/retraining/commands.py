"""The commands that train again: `watch` on this machine, `schedule` on a server."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from kfp_vision.pipelines.cluster.commands import CaCert, Host, Namespace
from kfp_vision.pipelines.options import (
    PARAMETERS,
    ParameterFile,
    given_options,
    with_parameter_options,
)
from kfp_vision.pipelines.parameter_file import read_parameters
from kfp_vision.pipelines.retraining.triggers import Triggers

__all__ = ["add_commands"]

_HELP = {field.name: field.metadata["help"] for field in dataclasses.fields(Triggers)}
_File = Annotated[Path, typer.Argument(help="YAML file of one or more schedules.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(watch)
    schedules = typer.Typer(
        no_args_is_help=True, help="Keep schedules on a Kubeflow Pipelines server."
    )
    schedules.command(name="apply")(apply_schedules)
    schedules.command(name="list")(list_schedules)
    schedules.command(name="delete")(delete_schedules)
    app.add_typer(schedules, name="schedule")


@with_parameter_options(*PARAMETERS)
def watch(
    params: ParameterFile = None,
    every_minutes: Annotated[
        float, typer.Option(min=0.01, help="Pause between a run, or a look, and the next look.")
    ] = 10.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, train at most once, and end.")
    ] = False,
    min_new_share: Annotated[float, typer.Option(help=_HELP["min_new_share"])] = 0.0,
    max_age_days: Annotated[float, typer.Option(help=_HELP["max_age_days"])] = 0.0,
    max_metric_drop: Annotated[float, typer.Option(help=_HELP["max_metric_drop"])] = 0.0,
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="As of `run`.")
    ] = "subprocess",
    **options: Any,
) -> None:
    """Train whenever there is something new, on this machine, until a signal ends it.

    The same command continues after `kill -9`, also with the run that was under way. Without
    --champion-uri the champions and the record of the last success are in OUTPUT/champions.

    Exit codes with --once: 0 nothing new, or the model passed; 1 it is rejected or a stage failed.
    """
    from kfp_vision.pipelines.retraining.watching import watch

    parameters = read_parameters(params, given_options(options))
    triggers = Triggers(min_new_share, max_age_days, max_metric_drop)
    pause_s = 0.0 if once else 60 * every_minutes
    if not watch(parameters, triggers, pause_s, Console(), runner):
        raise typer.Exit(1)


def apply_schedules(
    file: _File, host: Host = "", namespace: Namespace = "", ca_cert: CaCert = ""
) -> None:
    """Make the schedules on the server what a file says; applied again, nothing changes."""
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.retraining.reconciling import apply_schedule
    from kfp_vision.pipelines.retraining.schedule_file import read_schedules

    schedules = read_schedules(file)
    client = connect(host, namespace, ca_cert)
    for schedule in schedules:
        outcome, going_on = apply_schedule(client, schedule)
        print(f"{schedule.name}: {outcome}")
        for run in going_on:
            print(
                f"{schedule.name}: run {run} of the schedule before goes on, and the next one does "
                f"not wait for it. `kfp-vision cancel {run}` ends it."
            )


def list_schedules(host: Host = "", namespace: Namespace = "", ca_cert: CaCert = "") -> None:
    """Show the schedules on the server that `apply` has made."""
    from rich.table import Table

    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.retraining.reconciling import list_schedules

    table = Table("name", "cron", "status", "version", box=None, pad_edge=False)
    for each in list_schedules(connect(host, namespace, ca_cert)):
        version = each.pipeline_version_reference.pipeline_version_id
        cron = each.trigger.cron_schedule.cron
        table.add_row(each.display_name, cron, str(each.status).lower(), version)
    Console(soft_wrap=True).print(table, markup=False, highlight=False)


def delete_schedules(
    file: _File, host: Host = "", namespace: Namespace = "", ca_cert: CaCert = ""
) -> None:
    """Delete the schedules of a file from the server; runs that are under way go on."""
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.retraining.reconciling import delete_schedule
    from kfp_vision.pipelines.retraining.schedule_file import read_schedules

    schedules = read_schedules(file)
    client = connect(host, namespace, ca_cert)
    for schedule in schedules:
        found = delete_schedule(client, schedule.name)
        print(f"{schedule.name}: {'deleted' if found else 'not there'}")
