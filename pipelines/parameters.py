"""The pipeline parameters: one flat list with the same names in YAML, CLI, KFP form and Python.

`0` and `""` stand for "not set": KFP cannot leave an optional pipeline input out.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.components.shared.tasks import TASKS

__all__ = ["Parameters", "read_parameters", "render_parameters"]

_OPTIMIZERS = ("adamw", "sgd", "lamb")


def _parameter(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a user may set; the field order is the order of the forms."""

    dataset_uri: str = _parameter(
        "", "Folder, manifest (.csv .jsonl .parquet), .npz or TFDS name; local, gs:// or s3://."
    )
    output_uri: str = _parameter("", "Folder that receives the report, the recipe and the models.")
    dataset_format: str = _parameter("auto", "Reader of the dataset; `auto` detects it.")
    unlabeled_uri: str = _parameter("", "Folder of images without labels.")
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
    seed: int = _parameter(0, "Seed of everything random.")

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
            *((name, "must not be negative", getattr(self, name) >= 0) for name in numbers),
        ]
        broken = [
            f"`{name}` {rule}. Received: {getattr(self, name)!r}"
            for name, rule, holds in rules
            if not holds
        ]
        if broken:
            raise ValueError("; ".join(broken))


def read_parameters(path: Path | None, overrides: Mapping[str, Any]) -> Parameters:
    """Returns the parameters of a YAML file, `overrides` (the command line) going first.

    Raises:
        ValueError: The file is not a flat mapping, a name is unknown or a value has the wrong type.
    """
    content: Any = {}
    if path is not None:
        if not path.is_file():
            raise ValueError(
                f"The parameter file must exist. Received: {path}. `kfp-vision init` writes one."
            )
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(
                f"The parameter file must be YAML. Received: {path} ({error})"
            ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"The parameter file must hold `name: value` lines. Received: {path}")
    given = {**content, **overrides}
    fields = {field.name: field for field in dataclasses.fields(Parameters)}
    return Parameters(**{name: _checked(fields, name, value) for name, value in given.items()})


def _checked(fields: Mapping[str, dataclasses.Field], name: str, value: Any) -> Any:
    if name not in fields:
        close = difflib.get_close_matches(str(name), fields, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"They are: {', '.join(fields)}."
        raise ValueError(f"Parameter names must be known. Received: {name!r}. {hint}")
    kind = fields[name].type
    # A YAML `1` is a valid float; a YAML `true` is an int for Python but not for a user.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(
            f"`{name}` must be of type {getattr(kind, '__name__', kind)}. "
            f"Received: {value!r} ({type(value).__name__})"
        )
    return value


def render_parameters() -> str:
    """Returns a YAML file with every parameter, its meaning and its default."""
    lines = ["# Parameters of a kfp-vision run; remove what you do not need."]
    for field in dataclasses.fields(Parameters):
        lines += ["", f"# {field.metadata['help']}"]
        lines += [yaml.safe_dump({field.name: field.default}).rstrip()]
    return "\n".join(lines) + "\n"
