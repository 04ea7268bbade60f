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

__all__ = ["Arguments", "inputs_of", "takes_arguments"]


@dataclasses.dataclass(frozen=True)
class Arguments(Parameters):
    """The inputs of the pipeline."""

    checkpoint_uri: str = dataclasses.field(
        default="", metadata={"help": "Folder for checkpoints that outlives the run."}
    )


def takes_arguments(define: Callable[[Mapping[str, Any]], None]) -> Callable[..., None]:
    """Returns a function for `dsl.pipeline` with the fields of `Arguments` as its parameters.

    Args:
        define: Adds the tasks; is given argument name -> pipeline channel.
    """
    signature = inspect.signature(Arguments)

    @functools.wraps(define)
    def pipeline(*channels: Any) -> None:
        define(dict(zip(signature.parameters, channels, strict=True)))

    described = (
        f"    {each.name}: {each.metadata['help']}" for each in dataclasses.fields(Arguments)
    )
    pipeline.__signature__ = signature  # type: ignore[attr-defined]
    pipeline.__doc__ = "\n".join([f"{inspect.getdoc(define)}\n\nArgs:", *described])
    return pipeline


def inputs_of(stage: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a KFP component takes: its inputs of the same names."""
    inputs = stage.component_spec.inputs or {}
    return {name: value for name, value in arguments.items() if name in inputs}
