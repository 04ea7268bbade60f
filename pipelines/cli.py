"""The command line: `kfp-vision run | init | compile | predict | report`.

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
from typing import Annotated, Any

import typer
from rich.console import Console

from kfp_vision.pipelines.parameters import Parameters, read_parameters, render_parameters
from kfp_vision.pipelines.processes import Stopped, raise_on_signals, use_tensorflow

__all__ = ["main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trains computer-vision models on Kubeflow Pipelines, or on this machine.",
)


def _with_parameter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turns the `**options` of a command into one typed option for every pipeline parameter."""

    def names(field: dataclasses.Field) -> list[str]:
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
                    *names(field),
                    help=field.metadata["help"],
                    show_default=False,
                ),
            ],
        )
        for field in dataclasses.fields(Parameters)
    ]
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=own + options)  # type: ignore[attr-defined]
    command.__annotations__.update({option.name: option.annotation for option in options})
    return command


@app.callback(invoke_without_command=True)
def _app(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        print(version("kfp-vision"))
        raise typer.Exit


@app.command()
@_with_parameter_options
def run(
    params: Annotated[
        Path | None, typer.Argument(help="YAML file of parameters; options override it.")
    ] = None,
    **options: Any,
) -> None:
    """Run the whole pipeline on this machine; the same command again continues a stopped run."""
    from kfp_vision.pipelines.local import run_locally
    from kfp_vision.pipelines.summary import print_summary

    given = {name: value for name, value in options.items() if value is not None}
    parameters = read_parameters(params, given)
    console = Console()
    result = run_locally(parameters, console)
    print_summary(result, parameters.output_uri, console)
    if result.status != "passed":
        raise typer.Exit(1)


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
    from kfp_vision.pipelines.prediction import predict_images, write_table

    # A name that is no UTF-8 must not end the table.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if not write_table(predict_images(model, images), as_json, sys.stdout):
        raise typer.Exit(1)


@app.command()
def report(
    output: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    rebuild: Annotated[bool, typer.Option(help="Build it again from the artifacts.")] = False,
) -> None:
    """Print where the report of a run is, and open it when there is a browser to open it in."""
    use_tensorflow()
    page = output / "report.html"
    if rebuild or not page.exists():
        from kfp_vision.pipelines.rebuilding import rebuild_report

        rebuild_report(output)
    print(page.absolute())
    if sys.stdout.isatty():
        webbrowser.open(page.absolute().as_uri())


def main() -> None:
    """Runs the command line; what the user can put right is one message, not a traceback."""
    raise_on_signals()
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:
        print(f"kfp-vision: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        # Only a run keeps what it has done; the terminal may be what has gone.
        more = " The same command continues." if sys.argv[1:2] == ["run"] else ""
        with contextlib.suppress(OSError):
            print(f"kfp-vision: {stop}.{more}", file=sys.stderr, flush=True)
        sys.exit(128 + stop.number)  # As a shell reports a process that a signal has ended.
