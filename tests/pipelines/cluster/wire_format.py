"""What a value becomes between two tasks on a backend; what it cannot become is refused."""

import math
from typing import Any

from kfp import dsl

__all__ = ["Refused", "refuse_constant", "returned_value", "runtime_artifact", "wire"]

# The only artifact whose metadata the user interface reads nested.
_NESTED = "system.ClassificationMetrics"


class Refused(AssertionError):  # noqa: N818 - what the backend does to a task.
    """A backend would have failed the task, or changed what it wrote."""


def runtime_artifact(artifact: dsl.Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "uri": artifact.uri,
        "type": {"schemaTitle": artifact.schema_title},
        "metadata": artifact.metadata,
    }


def wire(value: Any) -> Any:
    """Returns a parameter as it arrives: protobuf knows one kind of number, and 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [wire(each) for each in value]
    if isinstance(value, dict):
        return {name: wire(each) for name, each in value.items()}
    return value


def refuse_constant(name: str) -> None:
    raise Refused(f"proto: syntax error: invalid value {name}")


def returned_value(name: str, value: Any, kind: str) -> Any:
    """Returns a value of the metadata as the next task finds it.

    Raises:
        Refused: It would come back as something else: True as 1, and a dict in another one.
    """
    if kind == _NESTED and isinstance(value, dict | list):
        return {"struct" if isinstance(value, dict) else "list": value}
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refused(f"Metadata must be text or numbers. Received: {name}={value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(f"Metadata must be finite. Received: {name}={value!r}")
    return value
