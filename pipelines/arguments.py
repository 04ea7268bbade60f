"""The arguments of the pipeline: the parameters of the user, and what the launcher sets.

`dsl.pipeline` reads names, types, defaults and descriptions from a function's signature and
docstring; `takes_arguments` derives both from the dataclass below. It knows no `Literal`:
`add_choices` writes the values of those into the compiled pipeline.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import struct_pb2

from kfp_vision.pipelines.parameters import Parameters, choices_of, help_of, type_of

__all__ = ["SHAPE", "Arguments", "add_choices", "inputs_of", "takes_arguments"]

# Decide which tasks there are: known when the pipeline is compiled, and no inputs of it.
SHAPE = ("trial_workers", "teacher_workers")


@dataclasses.dataclass(frozen=True)
class Arguments(Parameters):
    """The inputs of the pipeline, and `SHAPE`."""

    checkpoint_uri: str = dataclasses.field(
        default="", metadata={"help": "Folder for checkpoints that outlives the run."}
    )


def takes_arguments(
    define: Callable[[Mapping[str, Any]], None], *more: type
) -> Callable[..., None]:
    """Returns a function for `dsl.pipeline` with the fields of `Arguments` as its parameters.

    Args:
        define: Adds the tasks; is given argument name -> pipeline channel, without `SHAPE`.
        more: Dataclasses whose fields are inputs too; each has a default.
    """
    kinds = (Arguments, *more)
    fields = {
        each.name: each
        for kind in kinds
        for each in dataclasses.fields(kind)
        if each.name not in SHAPE
    }
    declared = {
        name: each for kind in kinds for name, each in inspect.signature(kind).parameters.items()
    }
    signature = inspect.Signature(
        [declared[name].replace(annotation=type_of(each)) for name, each in fields.items()]
    )

    @functools.wraps(define)
    def pipeline(*channels: Any) -> None:
        define(dict(zip(signature.parameters, channels, strict=True)))

    described = (f"    {name}: {help_of(each)}" for name, each in fields.items())
    pipeline.__signature__ = signature  # type: ignore[attr-defined]
    pipeline.__doc__ = "\n".join([f"{inspect.getdoc(define)}\n\nArgs:", *described])
    return pipeline


def add_choices(pipeline: Any) -> None:
    """Lists the values of the inputs that have few: the server's form shows them as a menu.

    The server refuses others; a switch without a menu would be a text field for `true` or `false`.

    Args:
        pipeline: What `dsl.pipeline` returned; its specification is changed.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    for each in dataclasses.fields(Arguments):
        choices: Sequence[str | bool] = choices_of(each)
        if each.type is bool:
            choices = (True, False)
        if each.name not in SHAPE:
            inputs[each.name].literals.extend(map(_as_value, choices))


def _as_value(value: str | bool) -> struct_pb2.Value:
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    return struct_pb2.Value(string_value=value)


def inputs_of(stage: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a KFP component takes: its inputs of the same names."""
    inputs = stage.component_spec.inputs or {}
    return {name: value for name, value in arguments.items() if name in inputs}
