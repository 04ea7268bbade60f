"""The parameters of a run, declared once: YAML, command line, KFP form and Python read this list.

`0`, `auto` and `""` stand for "not set": KFP cannot leave an optional pipeline input out. A
`Literal` lists the values of a parameter that has few: forms show them as a menu.
"""

import dataclasses
import difflib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, get_args, get_origin

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionRule
from kfp_vision.components.shared.artifacts.dataset_info import SourceFormat
from kfp_vision.components.shared.recipe.budget import Preset
from kfp_vision.components.shared.recipe.teachers import Deployed
from kfp_vision.components.shared.recipe.training_values import Optimizer
from kfp_vision.components.shared.recipe.unlabeled import Arm
from kfp_vision.components.shared.runtime.seeds import MAX_SEED
from kfp_vision.components.shared.tasks import TaskName

__all__ = [
    "INSPECTED",
    "Parameters",
    "check_names",
    "choices_of",
    "help_of",
    "make_parameters",
    "type_of",
]

# What `inspect` reads beside the dataset and the output.
INSPECTED = (
    "dataset_format",
    "unlabeled_uri",
    "follow_links",
    "task",
    "positive_class",
    "accept_findings",
    "seed",
)


def _required(text: str) -> Any:
    return dataclasses.field(metadata={"help": text})


def _parameter(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters of a run, in the order of the forms."""

    dataset_uri: str = _required(
        "Images with labels: a folder, a table (.csv .tsv .json .jsonl .parquet) or arrays "
        "(.npz, IDX), local, gs:// or s3://; or tfds:NAME."
    )
    output_uri: str = _required("Folder that receives the report, the recipe and the models.")
    dataset_format: Literal["auto", SourceFormat] = _parameter(
        "auto", "Format of the dataset; `auto` detects it."
    )
    unlabeled_uri: str = _parameter("", "Folder of images without labels.")
    follow_links: bool = _parameter(
        False, "Follow links that lead out of the dataset; false refuses them."
    )
    task: Literal["auto", TaskName] = _parameter(
        "auto", "What is learned of an image; `auto` detects it."
    )
    positive_class: str = _parameter(
        "", "Positive class of two, for average precision and curves; empty: the rarer one."
    )
    architecture: str = _parameter("auto", "Zoo name or URI of a .keras file; `auto` chooses.")
    image_size: int = _parameter(
        0, "Side of the input in pixels, a square; 0: from the data, in the shape of the images."
    )
    batch_size: int = _parameter(0, "Images per step; 0: kfp-vision chooses.")
    learning_rate: float = _parameter(0.0, "Peak learning rate; 0: kfp-vision chooses.")
    epochs: int = _parameter(0, "Passes over the training images; 0: kfp-vision chooses.")
    optimizer: Literal["auto", Optimizer] = _parameter("auto", "`auto`: kfp-vision chooses.")
    preset: Preset = _parameter("balanced", "Budget of the run: 4, 12 or 60 minutes.")
    max_minutes: float = _parameter(
        0.0, "Time limit of the whole run in minutes; 0: that of the preset."
    )
    cost_multiple: float = _parameter(
        0.0, "Limit of probe, search and training, in plain trainings; 0: that of the preset."
    )
    learn_batch_size: bool = _parameter(
        True, "Measure batch size, learning rate and epochs; false uses the defaults."
    )
    search_augmentation: bool = _parameter(
        True, "Search the augmentation policy; false keeps that of the recipe."
    )
    trial_workers: int = _parameter(
        1, "Tasks that share the trials of a search round; for clusters of several nodes."
    )
    teacher_workers: int = _parameter(
        1, "Tasks that share the training of `teachers`; for clusters of several nodes."
    )
    image_cache_gib: float = _parameter(
        10.0, "GiB of decoded images that the run may keep on disk; 0: none, each stage decodes."
    )
    use_validation_for_training: bool = _parameter(
        False, "Train the final model once more, on training and validation images together."
    )
    pretrain: Arm = _parameter(
        "auto", "Learn from images before their labels; kept where it helps. For classifiers."
    )
    self_train: Arm = _parameter(
        "auto", "Learn the images of `unlabeled_uri`; kept where it helps. For classifiers."
    )
    distill: Arm = _parameter(
        "auto", "Train again, by a better network; kept where it helps. For classifiers."
    )
    teachers: int = _parameter(
        0, "Networks trained beside the model, to teach it or join it; 0: kfp-vision decides."
    )
    deploy: Deployed = _parameter(
        "model", "`ensemble`: the model and its teachers together, where that is better."
    )
    recipe_uri: str = _parameter("", "recipe.json of an earlier run to start from.")
    champion_uri: str = _parameter(
        "", "Folder of champions, which the model is compared with and may replace; empty: none."
    )
    champion_rule: ChampionRule = _parameter(
        "not_worse", "What a model must be to replace the champion, with 95 % confidence."
    )
    champion_margin: float = _parameter(
        0.02,
        "With `champion_rule: not_worse`: how far below the champion, or a better one before it, "
        "the primary metric may be.",
    )
    accept_findings: str = _parameter(
        "", "Codes of failing data findings to accept, separated by commas."
    )
    seed: int = _parameter(0, "Seed of all randomness, below 2^53.")

    def __post_init__(self) -> None:
        """Refuses values that no stage can use."""
        broken = [*self._wrong_types()] or [*self._broken_rules()]
        if broken:
            raise ValueError("; ".join(broken))

    @property
    def _judged(self) -> list[str]:
        """What the user has asked for that validation images judge."""
        given = {name: getattr(self, name) for name in ("pretrain", "self_train", "distill")}
        wishes = [f"`{name}: always`" for name, value in given.items() if value == "always"]
        wishes += [f"`teachers: {self.teachers}`"] if self.teachers else []
        return wishes + (["`deploy: ensemble`"] if self.deploy == "ensemble" else [])

    def _wrong_types(self) -> Iterator[str]:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type_of(field)
            if type(value) is not kind:
                yield f"`{field.name}` must be of type {kind.__name__}. Received: {value!r}"

    def _broken_rules(self) -> Iterator[str]:
        numbers = [name for name, value in vars(self).items() if not isinstance(value, str)]
        limited = [(each.name, choices_of(each)) for each in dataclasses.fields(self)]
        limited = [(name, choices) for name, choices in limited if choices]
        rules = [
            ("dataset_uri", "must be set", self.dataset_uri),
            ("output_uri", "must be set", self.output_uri),
            *(
                (name, f"must be one of {', '.join(choices)}", getattr(self, name) in choices)
                for name, choices in limited
            ),
            ("champion_margin", "must be below 1", self.champion_margin < 1),
            (
                "deploy",
                "must be `model` where `distill` is `always`: an ensemble is no student",
                not (self.deploy == "ensemble" and self.distill == "always"),
            ),
            (
                "use_validation_for_training",
                f"must be false with {', '.join(self._judged)}: no images are left to judge that",
                not (self.use_validation_for_training and self._judged),
            ),
            ("trial_workers", "must be at least 1", self.trial_workers >= 1),
            ("teacher_workers", "must be at least 1", self.teacher_workers >= 1),
            ("teachers", "must be at most 100", self.teachers <= 100),
            ("seed", f"must be at most {MAX_SEED}", self.seed <= MAX_SEED),
            *((name, "must not be negative", not getattr(self, name) < 0) for name in numbers),
            *((name, "must be finite", abs(getattr(self, name)) < math.inf) for name in numbers),
        ]
        for name, rule, holds in rules:
            if not holds:
                yield f"`{name}` {rule}. Received: {getattr(self, name)!r}"


_FIELDS = {field.name: field for field in dataclasses.fields(Parameters)}


def choices_of(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Returns the values that a parameter may have, where it has few; none where it has many."""
    return get_args(field.type) if get_origin(field.type) is Literal else ()


def type_of(field: dataclasses.Field[Any]) -> type:
    """Returns the type of a parameter: bool, int, float or str."""
    return str if choices_of(field) else field.type  # type: ignore[return-value]


def help_of(field: dataclasses.Field[Any]) -> str:
    """Returns what a parameter means, and which values it may have."""
    choices = choices_of(field)
    text: str = field.metadata["help"]
    return f"{text} One of {', '.join(choices)}." if choices else text


def check_names(
    names: Iterable[str], known: Sequence[str] = tuple(_FIELDS), kind: str = "Parameter"
) -> None:
    """Checks that every name is known: those of the parameters, or of another kind.

    Raises:
        ValueError: A name is unknown; the message suggests close ones.
    """
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"They are: {', '.join(known)}."
            if close:
                hint = f"Did you mean {' or '.join(close)}?"
            raise ValueError(f"{kind} names must be known. Received: {name!r}. {hint}")


def make_parameters(given: Mapping[str, Any]) -> Parameters:
    """Returns the parameters; what is empty is not set, and `~` is the home folder in every path.

    Without `output_uri` the output is `out/NAME`, where NAME is that of the dataset.

    Args:
        given: Parameter name -> value; paths as `str` or `Path`.

    Raises:
        ValueError: A name is unknown, or a value has the wrong type or cannot be used.
    """
    check_names(given)
    values = {name: _normalized(name, value) for name, value in given.items()}
    values = {name: value for name, value in values.items() if value != ""}
    dataset = values.setdefault("dataset_uri", "")
    values.setdefault("output_uri", _default_output(dataset) if isinstance(dataset, str) else "")
    return Parameters(**values)


def _normalized(name: str, value: Any) -> Any:
    if name.endswith("_uri") or name == "architecture":
        return _expand_home(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else value
    # Python and YAML write whole learning rates without a point.
    return float(value) if type_of(_FIELDS[name]) is float and type(value) is int else value


def _expand_home(uri: str) -> str:
    """Returns a path or `file://` URI with the home folder for `~`: no shell has seen a file's."""
    scheme = "file://" if uri.startswith("file://") else ""
    return scheme + os.path.expanduser(uri.removeprefix(scheme))  # noqa: PTH111


def _default_output(dataset_uri: str) -> str:
    """Returns `out/photos` for `data/photos/`, `s3://bucket/photos.csv` and `tfds:photos`."""
    name = PurePosixPath(dataset_uri.removeprefix("tfds:")).name.partition(".")[0]
    return f"out/{name}" if name else ""
