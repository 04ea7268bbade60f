"""The parameters of a run as options of a command, from their one declaration."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from kfp_vision.pipelines.parameters import Parameters, choices_of, type_of

__all__ = ["PARAMETERS", "ParameterFile", "given_options", "with_parameter_options"]

_Command = TypeVar("_Command", bound=Callable[..., None])

# The names of all of them.
PARAMETERS = tuple(field.name for field in dataclasses.fields(Parameters))
ParameterFile = Annotated[
    Path | None, typer.Argument(help="YAML file of parameters; options override it.")
]


def with_parameter_options(*names: str) -> Callable[[_Command], _Command]:
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
                type_of(field) | None,
                typer.Option(
                    *flags(field),
                    help=field.metadata["help"],
                    metavar=f"<{'|'.join(choices_of(field))}>" if choices_of(field) else None,
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


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that are on the command line."""
    return {name: value for name, value in options.items() if value is not None}
