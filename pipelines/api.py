"""The Python interface: `import kfp_vision; run = kfp_vision.train("photos/")`.

The command line calls the same functions. What is heavy is imported inside them.
"""

import dataclasses
import inspect as introspection
import json
import os
import webbrowser
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from kfp_vision.components.shared.runtime.storage import Folder, open_folder
from kfp_vision.pipelines.parameters import (
    INSPECTED,
    Parameters,
    check_names,
    help_of,
    make_parameters,
)
from kfp_vision.pipelines.serving.predict import Model

if TYPE_CHECKING:
    from kfp_vision.pipelines.local.container_settings import Limits
    from kfp_vision.pipelines.local.inspection import Inspection
    from kfp_vision.pipelines.local.launcher import Runner

__all__ = ["Model", "Run", "RunFailedError", "inspect", "load", "train"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Uri = str | os.PathLike[str]
_NAMES = tuple(field.name for field in dataclasses.fields(Parameters))


class RunFailedError(RuntimeError):
    """A stage has failed; the message says which, why, and where its log is."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The results of a run, read when they are asked for.

    Attributes:
        output_uri: Where they are.
        status: `passed`, `rejected` (the model is no better than the baselines), or how a run
            without results ended: `failed`, `stopped`, or `running`.
        reason: Why it has not passed; empty when it has.
    """

    output_uri: str
    status: str
    reason: str = ""

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return self._read("report.json")

    @property
    def metrics(self) -> dict[str, float]:
        """Metric -> value on the test split; `report["metrics"]` has the confidence intervals."""
        return {name: score["value"] for name, score in self.report["metrics"]["test"].items()}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The content of `recipe.json`: every setting, its value and its evidence."""
        return self._read("recipe.json")

    @cached_property
    def model(self) -> Model:
        """The trained model; a rejected run has none."""
        return Model(self.output_uri)

    @property
    def page(self) -> str:
        """The path or URI of `report.html`."""
        return f"{self.output_uri}/report.html"

    def show(self, rebuild: bool = False) -> None:
        """Opens the page in a browser.

        Args:
            rebuild: Whether to build it again from the artifacts first.

        Raises:
            ValueError: The output is in a bucket, or is not that of a finished run.
        """
        from kfp_vision.pipelines.publishing.rebuild import report_page

        webbrowser.open(report_page(self.output_uri, rebuild).as_uri())

    def _read(self, name: str) -> dict[str, Any]:
        return _read_json(open_folder(self.output_uri)[0], name)


def _with_parameters(*names: str) -> Callable[[_Function], _Function]:
    """Adds parameters of a run to the signature and the docstring of a function.

    `help()` and notebooks show them; the function itself takes them as `**parameters`.
    """
    fields = [field for field in dataclasses.fields(Parameters) if field.name in names]

    def decorate(function: _Function) -> _Function:
        signature = introspection.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        taken = [
            introspection.Parameter(
                field.name,
                introspection.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.type,
            )
            for field in fields
            if field.name not in signature.parameters
        ]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *taken]
        )
        lines = [f"    {field.name}: {help_of(field)}" for field in fields]
        function.__doc__ = "\n".join(
            [introspection.getdoc(function) or "", "", "Parameters:", *lines]
        )
        return function

    return decorate


@_with_parameters(*_NAMES)
def train(
    dataset_uri: _Uri,
    output_uri: _Uri = "",
    quiet: bool = False,
    runner: "Runner" = "subprocess",
    limits: "Limits | None" = None,
    **parameters: Any,
) -> Run:
    """Runs the whole pipeline on this machine; the same call again continues a stopped run.

    Args:
        dataset_uri: See below.
        output_uri: See below; `out/NAME` when empty, with the name of the dataset.
        quiet: Whether to print nothing.
        runner: `docker` runs every task in a container of the image that `make images` builds.
        limits: CPUs and memory of the containers.
        **parameters: The others below.

    Returns:
        The run, whose model is either passed or rejected.

    Raises:
        ValueError: A parameter or the output folder cannot be used.
        RunFailedError: A stage has failed.
    """
    from rich.console import Console

    from kfp_vision.pipelines.local.closing_lines import describe_failure, print_summary
    from kfp_vision.pipelines.local.launcher import run_locally

    made = make_parameters({"dataset_uri": dataset_uri, "output_uri": output_uri, **parameters})
    console = Console(quiet=quiet)
    result = run_locally(made, console, runner, limits)
    if result.status == "failed":
        raise RunFailedError(describe_failure(result))
    print_summary(result, made.output_uri, console)
    return Run(made.output_uri.rstrip("/"), result.status, result.reason)


@_with_parameters(*INSPECTED)
def inspect(dataset_uri: _Uri, output_uri: _Uri = "", **parameters: Any) -> "Inspection":
    """Imports and profiles a dataset without training, to see what a run would understand.

    Args:
        dataset_uri: As of `train`.
        output_uri: Folder for inspect.json, profile.html and rejected.parquet; empty: not kept.
        **parameters: Those below.

    Returns:
        What was found; its `reason` is empty when the dataset could be trained.

    Raises:
        ValueError: A parameter or the output folder cannot be used.
    """
    from kfp_vision.pipelines.local.inspection import inspect_dataset

    check_names(parameters, INSPECTED)
    given = {"dataset_uri": dataset_uri, "output_uri": output_uri, **parameters}
    return inspect_dataset(make_parameters(given), keeps=bool(output_uri))


def load(output_uri: _Uri) -> Run:
    """Returns the run whose output this is.

    Raises:
        ValueError: It is not the output of a run.
    """
    uri = os.fspath(output_uri).rstrip("/")
    folder, name = open_folder(uri)
    if name or not folder.exists("run.json"):
        raise ValueError(
            f"`output_uri` must be the output of a run. Received: {uri}, without run.json"
        )
    record = _read_json(folder, "run.json")
    return Run(uri, record["status"], record["reason"])


def _read_json(folder: Folder, name: str) -> dict[str, Any]:
    if not folder.exists(name):
        raise ValueError(f"The run must have left {name}. Received: {folder.uri} without it")
    content: dict[str, Any] = json.loads(folder.read(name))
    return content
