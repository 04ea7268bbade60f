"""The YAML form of the parameters: `name: value` lines, read by the type of each parameter."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.pipelines.parameters import (
    Parameters,
    check_names,
    help_of,
    make_parameters,
    type_of,
)

__all__ = ["read_mapping", "read_parameters", "render_parameters"]

# What YAML 1.1 calls a boolean, and what people write beside it.
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "0"), False),
}
_FIELDS = {field.name: field for field in dataclasses.fields(Parameters)}


def read_parameters(path: Path | None, overrides: Mapping[str, Any]) -> Parameters:
    """Returns the parameters of a YAML file, `overrides` (the command line) going first.

    Raises:
        ValueError: The file is not a flat mapping, a name is unknown, or a value cannot be used.
    """
    return make_parameters({**({} if path is None else _read_file(path)), **overrides})


def _read_file(path: Path) -> dict[str, Any]:
    """Returns what `read_mapping` does."""
    if not path.is_file():
        raise ValueError(
            f"The parameter file must exist. Received: {path}. `kfp-vision init` writes one."
        )
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The parameter file must be YAML. Received: {path} ({error})") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"The parameter file must hold `name: value` lines. Received: {path}")
    return read_mapping(root, str(path))


def read_mapping(root: yaml.MappingNode, place: str) -> dict[str, Any]:
    """Returns name -> value of the type of the parameter, "" for what is empty.

    Args:
        root: The lines, as PyYAML composes them.
        place: Where they stand, for messages.

    Raises:
        ValueError: A name is unknown or stands twice, or a value has the wrong type.
    """
    given: dict[str, Any] = {}
    for key, node in root.value:
        name = str(key.value)
        check_names([name])
        if name in given:
            raise ValueError(f"A parameter must be set once. Received: {name} twice in {place}")
        given[name] = _converted(_FIELDS[name], node)
    return given


def _converted(field: dataclasses.Field[Any], node: yaml.Node) -> Any:
    """Returns what is written as the type of the parameter; the type that YAML guesses is not used.

    YAML 1.1 takes `1e-3` for a string, `no` for a boolean, `1:30` for 90 and `010` for 8.
    """
    if field.name == "accept_findings" and isinstance(node, yaml.SequenceNode):
        return ",".join(str(entry.value) for entry in node.value)
    kind = node.tag.rpartition(":")[2]
    if kind == "null" or node.value == "":
        return ""
    try:
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(node.tag)
        return _CONVERTERS[type_of(field)](node.value.strip())
    except (ValueError, KeyError, OverflowError) as error:
        shown = repr(node.value) if kind == "str" else node.value
        if kind == "bool":
            shown = _SWITCHES[node.value.lower()]
        raise ValueError(
            f"`{field.name}` must be of type {type_of(field).__name__}. "
            f"Received: {shown if isinstance(node, yaml.ScalarNode) else 'several values'} ({kind})"
        ) from error


def _integer(text: str) -> int:
    """Returns an integer, also of `64.0` and `1e3`."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdecimal() else int(number)


_CONVERTERS: Mapping[type, Callable[[str], Any]] = {
    bool: lambda text: _SWITCHES[text.lower()],
    int: _integer,
    float: float,
    str: str,
}


def render_parameters() -> str:
    """Returns a YAML file with every parameter, its meaning and its default."""
    lines = ["# Parameters of a kfp-vision run; remove what you do not need."]
    for field in _FIELDS.values():
        lines += ["", f"# {help_of(field)}"]
        default = "" if field.default is dataclasses.MISSING else field.default
        lines += [yaml.safe_dump({field.name: default}).rstrip()]
    return "\n".join(lines) + "\n"
