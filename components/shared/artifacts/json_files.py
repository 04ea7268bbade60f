"""JSON files of the artifacts: one frozen dataclass each."""

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["json_text", "read_json", "write_json"]

_T = TypeVar("_T")


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns a dataclass (or plain JSON value) as JSON.

    Raises:
        ValueError: The value holds a NaN or infinity, which JSON has no word for; names where.
        TypeError: It holds what is no JSON value.
    """
    try:
        return json.dumps(value, default=_plain, indent=indent, allow_nan=False)
    except ValueError as error:
        places = [f"{place} = {number}" for place, number in _not_finite(value)]
        raise ValueError(
            "JSON holds finite numbers only: what is not known is null. "
            f"Received: {', '.join(places) or error}"
        ) from error


def _plain(node: Any) -> Any:
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return dataclasses.asdict(node)
    if isinstance(node, Mapping):
        return dict(node)
    raise TypeError(f"Artifacts hold JSON values. Received: {type(node)} ({node!r})")


def _not_finite(node: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Yields where a NaN or infinity is, as `trials[3].loss`, and which."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        node = dataclasses.asdict(node)
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _not_finite(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _not_finite(value, f"{place}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        yield place, node


def write_json(value: Any, path: Path) -> None:
    """Writes what `json_text` returns, indented."""
    path.write_text(json_text(value, indent=2) + "\n", encoding="utf-8")


def read_json(kind: type[_T], path: Path) -> _T:
    """Reads a file that `write_json` wrote as `kind`, a dataclass that may hold others."""
    value: _T = _typed(kind, json.loads(path.read_text(encoding="utf-8")))
    return value


def _typed(kind: Any, value: Any) -> Any:
    """Returns a JSON value with the dataclasses that a type hint names; nothing else is checked."""
    if not _names_dataclass(kind) or value is None:
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _typed(hints.get(name), held) for name, held in value.items()})
    # `list[X]`, `dict[str, X]`, `X | None`.
    (inner,) = (each for each in get_args(kind) if _names_dataclass(each))
    if isinstance(value, list):
        return [_typed(inner, each) for each in value]
    if get_origin(kind) is dict:
        return {name: _typed(inner, each) for name, each in value.items()}
    return _typed(inner, value)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@functools.cache
def _names_dataclass(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or any(map(_names_dataclass, get_args(kind)))
