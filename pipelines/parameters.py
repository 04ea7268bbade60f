"""The pipeline parameters: one flat list with the same names in YAML, CLI, KFP form and Python.

`0` and `""` stand for "not set": KFP cannot leave an optional pipeline input out.
"""

import dataclasses
import difflib
import math
import os.path
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.components.shared.runtime.seeds import MAX_SEED
from kfp_vision.components.shared.tasks import TASKS

__all__ = ["Parameters", "read_parameters", "render_parameters"]

_OPTIMIZERS = ("adamw", "sgd", "lamb")
# What YAML 1.1 calls a boolean, and what people write beside it.
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "0"), False),
}


def _parameter(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a user may set; the field order is the order of the forms."""

    dataset_uri: str = _parameter(
        "",
        "Folder of images, table (.csv .tsv .json .jsonl .parquet) or arrays (.npz, IDX), local, "
        "gs:// or s3://; or tfds:NAME.",
    )
    output_uri: str = _parameter("", "Folder that receives the report, the recipe and the models.")
    dataset_format: str = _parameter(
        "auto", "One of auto, class_folders, manifest, npz, idx, tfds; `auto` detects it."
    )
    unlabeled_uri: str = _parameter("", "Folder of images without labels.")
    follow_links: bool = _parameter(
        False, "Read what links in the dataset lead to, outside of it too; false refuses them."
    )
    task: str = _parameter("auto", f"One of auto, {', '.join(TASKS)}; `auto` detects it.")
    architecture: str = _parameter("auto", "Zoo name or URI of a .keras file; `auto` chooses.")
    image_size: int = _parameter(0, "Pixels of the model's square input; 0: from the data.")
    batch_size: int = _parameter(0, "Images per step; 0: kfp-vision chooses.")
    learning_rate: float = _parameter(0.0, "Peak learning rate; 0: kfp-vision chooses.")
    epochs: int = _parameter(0, "Passes over the training images; 0: kfp-vision chooses.")
    optimizer: str = _parameter(
        "", f"One of {', '.join(_OPTIMIZERS)}; empty lets kfp-vision choose."
    )
    max_minutes: float = _parameter(0.0, "Minutes that training may take; 0: no limit.")
    learn_batch_size: bool = _parameter(
        True, "Measure batch size, learning rate and length; false keeps defaults."
    )
    search_augmentation: bool = _parameter(
        True, "Search the augmentation policy by trials; false keeps the recipe's."
    )
    trial_workers: int = _parameter(1, "Tasks that share the trials of a round.")
    recipe_uri: str = _parameter("", "recipe.json of an earlier run to start from.")
    accept_findings: str = _parameter("", "Codes of failing data findings to accept, with commas.")
    seed: int = _parameter(0, "Seed of everything random, below 2^53.")

    def __post_init__(self) -> None:
        """Refuses what no stage could use, before any of them has started."""
        numbers = [name for name, value in vars(self).items() if not isinstance(value, str)]
        rules = [
            ("dataset_uri", "must be set", self.dataset_uri),
            ("output_uri", "must be set", self.output_uri),
            ("task", f"must be one of {['auto', *TASKS]}", self.task in ("auto", *TASKS)),
            (
                "optimizer",
                f"must be empty or one of {list(_OPTIMIZERS)}",
                self.optimizer in ("", *_OPTIMIZERS),
            ),
            ("trial_workers", "must be at least 1", self.trial_workers >= 1),
            ("seed", f"must be at most {MAX_SEED}", self.seed <= MAX_SEED),
            *((name, "must not be negative", not getattr(self, name) < 0) for name in numbers),
            *((name, "must be finite", abs(getattr(self, name)) < math.inf) for name in numbers),
        ]
        broken = [
            f"`{name}` {rule}. Received: {getattr(self, name)!r}"
            for name, rule, holds in rules
            if not holds
        ]
        if broken:
            raise ValueError("; ".join(broken))


_FIELDS = {field.name: field for field in dataclasses.fields(Parameters)}
_PATHS = {"architecture", *(name for name in _FIELDS if name.endswith("_uri"))}


def _expand_home(uri: str) -> str:
    """Returns a path or `file://` URI with the home folder for `~`: no shell has seen a file's."""
    scheme = "file://" if uri.startswith("file://") else ""
    return scheme + os.path.expanduser(uri.removeprefix(scheme))  # noqa: PTH111


def read_parameters(path: Path | None, overrides: Mapping[str, Any]) -> Parameters:
    """Returns the parameters of a YAML file, `overrides` (the command line) going first.

    What is left empty is not set. `~` is the home folder in every path.

    Raises:
        ValueError: The file is not a flat mapping, a name is unknown or a value has the wrong type.
    """
    given = {**({} if path is None else _read_file(path)), **overrides}
    for name in given:
        if name not in _FIELDS:
            raise ValueError(_unknown(name))
        if name in _PATHS:
            given[name] = _expand_home(given[name])
    return Parameters(**{name: value for name, value in given.items() if value != ""})


def _read_file(path: Path) -> dict[str, Any]:
    """Returns name -> value of the type of the parameter, "" for what is empty."""
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
    given: dict[str, Any] = {}
    for key, node in root.value:
        name = str(key.value)
        if name not in _FIELDS:
            raise ValueError(_unknown(name))
        if name in given:
            raise ValueError(f"A parameter must be set once. Received: {name} twice in {path}")
        given[name] = _converted(_FIELDS[name], node)
    return given


def _converted(field: dataclasses.Field, node: yaml.Node) -> Any:
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
        return _CONVERTERS[field.type](node.value.strip())  # type: ignore[index]
    except (ValueError, KeyError, OverflowError) as error:
        shown = repr(node.value) if kind == "str" else node.value
        if kind == "bool":
            shown = _SWITCHES[node.value.lower()]
        raise ValueError(
            f"`{field.name}` must be of type {field.type.__name__}. "  # type: ignore[union-attr]
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


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _FIELDS, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"They are: {', '.join(_FIELDS)}."
    return f"Parameter names must be known. Received: {name!r}. {hint}"


def render_parameters() -> str:
    """Returns a YAML file with every parameter, its meaning and its default."""
    lines = ["# Parameters of a kfp-vision run; remove what you do not need."]
    for field in _FIELDS.values():
        lines += ["", f"# {field.metadata['help']}"]
        lines += [yaml.safe_dump({field.name: field.default}).rstrip()]
    return "\n".join(lines) + "\n"
