"""The command line: `kfp-vision run | inspect | init | compile | predict | report`.

Everything heavy is imported inside a command, so that `--help` answers at once.
"""

import contextlib
import dataclasses
import inspect
import sys
import webbrowser
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from kfp_vision.pipelines.local.processes import Stopped, raise_on_signals, use_tensorflow
from kfp_vision.pipelines.parameter_file import read_parameters, render_parameters
from kfp_vision.pipelines.parameters import Parameters

__all__ = ["main"]

_Command = TypeVar("_Command", bound=Callable[..., None])

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trains computer-vision models on Kubeflow Pipelines, or on this machine.",
)


# What a run and an inspection do with a dataset before any training.
_INSPECTED = (
    "dataset_format",
    "unlabeled_uri",
    "follow_links",
    "task",
    "accept_findings",
    "seed",
)


def _with_parameter_options(*names: str) -> Callable[[_Command], _Command]:
    """Turns the `**options` of a command into one typed option for each of the parameters."""

    def flags(field: dataclasses.Field[Any]) -> list[str]:
        if field.name == "output_uri":
            return ["--output", "--output-uri"]
        name = field.name.replace("_", "-")
        return [f"--{name}/--no-{name}" if field.type is bool else f"--{name}"]

    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                field.type | None,  # type: ignore[operator]
                typer.Option(
                    *flags(field),
                    help=field.metadata["help"],
                    show_default=False,
                ),
            ],
        )
        for field in dataclasses.fields(Parameters)
        if field.name in names
    ]

    def decorate(command: _Command) -> _Command:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=own + options
        )
        command.__annotations__.update({option.name: option.annotation for option in options})
        return command

    return decorate


@app.callback(invoke_without_command=True)
def _app(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        print(version("kfp-vision"))
        raise typer.Exit


@app.command()
@_with_parameter_options(*(field.name for field in dataclasses.fields(Parameters)))
def run(
    params: Annotated[
        Path | None, typer.Argument(help="YAML file of parameters; options override it.")
    ] = None,
    **options: Any,
) -> None:
    """Run the whole pipeline on this machine; the same command again continues a stopped run.

    Exit codes: 0 the model passed, 1 it is rejected or a stage failed, 2 a parameter or the output
    folder cannot be used, 128 + N signal N stopped the run.
    """
    from kfp_vision.pipelines.local.closing_lines import print_summary
    from kfp_vision.pipelines.local.launcher import run_locally

    given = {name: value for name, value in options.items() if value is not None}
    parameters = read_parameters(params, given)
    console = Console()
    result = run_locally(parameters, console)
    print_summary(result, parameters.output_uri, console)
    if result.status != "passed":
        raise typer.Exit(1)


@app.command(name="inspect")
@_with_parameter_options(*_INSPECTED)
def inspect_dataset(
    uri: Annotated[str, typer.Argument(help="The dataset, as `--dataset-uri` of a run.")],
    output: Annotated[
        str,
        typer.Option(help="Folder for inspect.json, profile.html and rejected.parquet."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    **options: Any,
) -> None:
    """Import and profile a dataset without training, to see what a run would understand.

    The exit code is 0 when it could be trained, and 2, with the reason, when not.
    """
    from kfp_vision.pipelines.local.inspection import inspect_dataset, print_inspection
    from kfp_vision.pipelines.local.run_record import check_output

    given = {name: value for name, value in options.items() if value is not None}
    # Only the kept results need an output.
    parameters = read_parameters(
        None, {"dataset_uri": uri, "output_uri": output or "not kept", **given}
    )
    if output:
        check_output(parameters.dataset_uri, parameters.output_uri)
    found = inspect_dataset(parameters, keeps=bool(output))
    if as_json:
        print(found.as_json(), flush=True)
    else:
        print_inspection(found, Console())
    if found.reason:
        raise ValueError(found.reason)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("params.yaml"),
) -> None:
    """Write a parameter file with every parameter, its meaning and its default."""
    if path.exists():
        raise ValueError(f"`init` writes a new file. Received: {path}, which exists.")
    path.write_text(render_parameters(), encoding="utf-8")
    print(f"{path} is written. Set dataset_uri and output_uri, then: kfp-vision run {path}")


@app.command(name="compile")
def compile_pipeline(
    path: Annotated[Path, typer.Argument(help="YAML file to write.")] = Path("kfp-vision.yaml"),
) -> None:
    """Compile the pipeline to the file that a Kubeflow Pipelines server takes."""
    from kfp import compiler

    from kfp_vision.pipelines.training import training_pipeline

    compiler.Compiler().compile(training_pipeline, str(path))
    print(f"{path} is written.")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Output of a run, or a model in it.")],
    images: Annotated[list[str], typer.Argument(help="Image files and folders of images.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False,
) -> None:
    """Print the probability of every class for images, as a table on standard output.

    A row for every file; the exit code is 1 when an image could not be read.
    """
    use_tensorflow()
    from kfp_vision.pipelines.serving.predict import predict_images, write_table

    if not write_table(predict_images(model, images), as_json, sys.stdout):
        raise typer.Exit(1)


@app.command()
def report(
    output: Annotated[str, typer.Argument(help="Output folder of a run.")],
    rebuild: Annotated[bool, typer.Option(help="Build it again from the artifacts.")] = False,
) -> None:
    """Print where the report of a run is, and open it when there is a browser to open it in."""
    from kfp_vision.components.shared.runtime.storage import local_path

    folder = local_path(output, "output")
    page = folder / "report.html"
    if rebuild or not page.exists():
        from kfp_vision.pipelines.publishing.rebuild import rebuild_report

        rebuild_report(folder)
    print(page.absolute())
    if sys.stdout.isatty():
        webbrowser.open(page.absolute().as_uri())


def main() -> None:
    """Runs the command line; what the user can put right is one message, not a traceback."""
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
        more = " The same command continues." if sys.argv[1:2] == ["run"] else ""
        with contextlib.suppress(OSError):
            print(f"kfp-vision: {stop}.{more}", file=sys.stderr, flush=True)
        sys.exit(128 + stop.number)  # As a shell reports a process that a signal has ended.
