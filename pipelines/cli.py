"""The command line: `kfp-vision run | inspect | init | compile | submit | ... | predict | report`.

Everything heavy is imported inside a command, so that `--help` answers at once.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import webbrowser
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from kfp_vision.pipelines.champions import commands as champion_commands
from kfp_vision.pipelines.cluster.commands import (
    ClusterProfile,
    Registry,
    Secret,
    add_commands,
    profile_of,
)
from kfp_vision.pipelines.local.processes import Stopped, raise_on_signals
from kfp_vision.pipelines.options import (
    PARAMETERS,
    ParameterFile,
    given_options,
    with_parameter_options,
)
from kfp_vision.pipelines.parameter_file import read_parameters, render_parameters
from kfp_vision.pipelines.parameters import INSPECTED
from kfp_vision.pipelines.retraining import commands as retraining_commands

__all__ = ["main"]


class _Commands(TyperGroup):
    """Ends quietly when the reader of its output ends, as in `predict ... | head`."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; its output is written before this returns."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Python's own flush at the end must not fail too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from error
        return result


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train vision models, on this machine or on Kubeflow Pipelines.",
)


@app.callback(invoke_without_command=True)
def _app(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        print(version("kfp-vision"))
        raise typer.Exit


@app.command()
@with_parameter_options(*PARAMETERS)
def run(
    params: ParameterFile = None,
    runner: Annotated[
        Literal["subprocess", "docker"],
        typer.Option(help="What every task runs in; `docker` needs the image of `make images`."),
    ] = "subprocess",
    cpus: Annotated[int, typer.Option(help="CPUs of the containers; 0: all.")] = 0,
    memory_gib: Annotated[
        float, typer.Option(help="Memory of a container in GiB; 0: what is free.")
    ] = 0.0,
    **options: Any,
) -> None:
    """Run the whole pipeline on this machine.

    The same command continues a stopped run. Without --output the results go to out/NAME, with the
    name of the dataset.

    Exit codes: 0 the model passed, 1 it is rejected or a stage failed, 2 a parameter or the output
    folder cannot be used, 128 + N signal N stopped the run.
    """
    from kfp_vision.pipelines import api
    from kfp_vision.pipelines.local.container_settings import Limits

    parameters = read_parameters(params, given_options(options))
    limits = Limits(cpus, memory_gib)
    try:
        run = api.train(**dataclasses.asdict(parameters), runner=runner, limits=limits)
    except api.RunFailedError as failure:
        Console().print(f"\n{failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from failure
    if run.status != "passed":
        raise typer.Exit(1)


@app.command(name="inspect")
@with_parameter_options(*INSPECTED)
def inspect_dataset(
    uri: Annotated[str, typer.Argument(help="The dataset, as for `run --dataset-uri`.")],
    output: Annotated[
        str,
        typer.Option(help="Folder for inspect.json, profile.html and rejected.parquet."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    **options: Any,
) -> None:
    """Show what a run would understand of a dataset, without training.

    The exit code is 0 when the dataset can be trained, and 2, with the reason, when not.
    """
    from kfp_vision.pipelines import api

    found = api.inspect(uri, output, **given_options(options))
    if as_json:
        print(found.as_json(), flush=True)
    else:
        found.show()
    if found.reason:
        raise ValueError(found.reason)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("params.yaml"),
) -> None:
    """Write a YAML file with every parameter and its default."""
    if path.exists():
        raise ValueError(f"`init` writes a new file. Received: {path}, which exists.")
    path.write_text(render_parameters(), encoding="utf-8")
    print(f"{path} is written. Set dataset_uri and output_uri, then: kfp-vision run {path}")


@app.command(name="compile")
def compile_pipeline(
    path: Annotated[Path, typer.Argument(help="YAML file to write.")] = Path("kfp-vision.yaml"),
    profile: ClusterProfile = None,
    registry: Registry = None,
    secret: Secret = None,
    trial_workers: Annotated[
        int, typer.Option(min=1, help="Tasks that share the trials of a search round.")
    ] = 1,
    teacher_workers: Annotated[
        int, typer.Option(min=1, help="Tasks that share the training of `teachers`.")
    ] = 1,
    scheduled: Annotated[
        bool,
        typer.Option("--scheduled", help="The first task decides whether there is anything new."),
    ] = False,
) -> None:
    """Write the pipeline as YAML for a Kubeflow Pipelines server."""
    from kfp_vision.pipelines.cluster.compiling import compile_pipeline

    if path.suffix != ".yaml" or not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"`path` must be a .yaml file in a folder that exists. Received: {path}")
    cluster = profile_of(profile, registry, secret)
    compile_pipeline(path, cluster, trial_workers, scheduled, teacher_workers)
    print(f"{path} is written.")
    if cluster.service_account:
        print(f"Run it with the service account {cluster.service_account}, which is not in a file.")


add_commands(app)
champion_commands.add_commands(app)
retraining_commands.add_commands(app)


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="Output folder of a run, or a .keras or .onnx file in it.")
    ],
    images: Annotated[list[str], typer.Argument(help="Image files and folders of images.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
    output: Annotated[
        str | None,
        typer.Option(help="Folder for masks, keypoints, COCO JSON, pictures; not for classifiers."),
    ] = None,
) -> None:
    """Print the probability of every class for images, its share of their pixels, or its boxes.

    Standard output gets one row per file. When an image cannot be read, the exit code is 1 and the
    last line on standard error says how many and names the first.
    """
    from kfp_vision.pipelines.places import predictions_folder
    from kfp_vision.pipelines.serving.predict import Model
    from kfp_vision.pipelines.serving.prediction_files import write_table

    folder = None if output is None else predictions_folder(output, images)
    served = Model(model)
    predictions = served.stream(images, with_files=folder is not None)
    coco = served.coco_file() if folder is not None else None
    if not write_table(predictions, as_json, sys.stdout, folder, coco):
        raise typer.Exit(1)


@app.command()
def report(
    output: Annotated[str, typer.Argument(help="Output folder of a run.")],
    rebuild: Annotated[
        bool, typer.Option(help="Build the report again from the artifacts.")
    ] = False,
) -> None:
    """Print the path of a run's report and open it in a browser."""
    from kfp_vision.pipelines.publishing.rebuild import report_page

    page = report_page(output, rebuild)
    print(page)
    if sys.stdout.isatty():
        webbrowser.open(page.as_uri())


def main() -> None:
    """Runs the command line; errors that a user can correct are messages without a traceback."""
    raise_on_signals()
    # A file name that is not UTF-8 must not abort a table.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:
        print(f"kfp-vision: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        # Only a run can be continued. Printing fails where the terminal itself has gone.
        more = " The same command continues." if sys.argv[1:2] in (["run"], ["watch"]) else ""
        with contextlib.suppress(OSError):
            print(f"kfp-vision: {stop}.{more}", file=sys.stderr, flush=True)
        sys.exit(128 + stop.number)  # As a shell reports a process that a signal has ended.
