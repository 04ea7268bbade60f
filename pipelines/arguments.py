"""The arguments of the pipeline: the parameters of the user, and what the launcher sets.

`dsl.pipeline` reads names, types, defaults and descriptions from a function's signature and
docstring; `takes_arguments` derives both from the dataclass below.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp_vision.pipelines.parameters import Parameters

__all__ = ["SHAPE", "Arguments", "inputs_of", "takes_arguments"]

# Decides which tasks there are: known when the pipeline is compiled, and no input of it.
SHAPE = "trial_workers"


@dataclasses.dataclass(frozen=True)
class Arguments(Parameters):
    """The inputs of the pipeline, and `SHAPE`."""

    checkpoint_uri: str = dataclasses.field(
        default="", metadata={"help": "Folder for checkpoints that outlives the run."}
    )


def takes_arguments(define: Callable[[Mapping[str, Any]], None]) -> Callable[..., None]:
    """Returns a function for `dsl.pipeline` with the fields of `Arguments` as its parameters.

    Args:
        define: Adds the tasks; is given argument name -> pipeline channel, without `SHAPE`.
    """
    signature = inspect.signature(Arguments)
    inputs = [each for name, each in signature.parameters.items() if name != SHAPE]
    signature = signature.replace(parameters=inputs)

    @functools.wraps(define)
    def pipeline(*channels: Any) -> None:
        define(dict(zip(signature.parameters, channels, strict=True)))

    described = (
        f"    {each.name}: {each.metadata['help']}"
        for each in dataclasses.fields(Arguments)
        if each.name != SHAPE
    )
    pipeline.__signature__ = signature  # type: ignore[attr-defined]
    pipeline.__doc__ = "\n".join([f"{inspect.getdoc(define)}\n\nArgs:", *described])
    return pipeline


def inputs_of(stage: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a KFP component takes: its inputs of the same names."""
    inputs = stage.component_spec.inputs or {}
    return {name: value for name, value in arguments.items() if name in inputs}
