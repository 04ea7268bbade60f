"""What each artifact looks like on disk: the contract between stages.

Every stage writes one folder. JSON files hold one frozen dataclass each (`write_json`,
`read_json`); tables are Arrow IPC (images) or Parquet (figures). File names are the constants here.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

__all__ = [
    "COST_FILE",
    "ROUNDS",
    "SPLITS",
    "AugmentationTable",
    "DatasetInfo",
    "Evaluation",
    "Export",
    "Finding",
    "ProbeSummary",
    "Profile",
    "StageCost",
    "TrainingSummary",
    "TrialSummary",
    "json_text",
    "read_json",
    "write_json",
]

SPLITS = ("train", "validation", "test", "unlabeled")
COST_FILE = "cost.json"
# Of the search by trials, in their order.
ROUNDS = ("screening", "expansion 1", "expansion 2", "pruning", "confirmation")


@dataclasses.dataclass(frozen=True)
class StageCost:
    """`cost.json` in the folder of every stage: what the stage cost, measured by the stage.

    Attributes:
        name: Stage name, as the DAG shows it.
        seconds: Wall-clock seconds of the verb.
        images_seen: Images that went through a model or a decoder, with repetition.
    """

    name: str
    seconds: float
    images_seen: int


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """`dataset.json` of the `dataset` artifact.

    Beside it: `<split>.arrow` (see `shared/datasets/store.py`) for each split that has images and
    `rejected.parquet` (`path`, `code`, `message`), one row per file that was left out.

    Attributes:
        task: A key of `shared.tasks.TASKS`.
        classes: Class names; the position is the label.
        splits: Split name -> number of images; only splits that have images.
        channels: 1 when every image is gray, else 3.
        median_height, median_width: Pixels, over the training images.
        fingerprint: SHA-256 (hex) over samples and labels; the order does not matter.
        source_uri: Where the images came from.
        source_format: The reader's name.
        split_origin: Split name -> `given` by the source or `made` here.
        rejected: Code -> number of files left out.
        notes: What was detected and decided, one sentence each.
        white_level: The value of 16-bit pixels that became 255, the same for every image; what
            the model predicts must be scaled by it too.
    """

    task: str
    classes: list[str]
    splits: dict[str, int]
    channels: int
    median_height: int
    median_width: int
    fingerprint: str
    source_uri: str
    source_format: str
    split_origin: dict[str, str]
    rejected: dict[str, int]
    notes: list[str]
    white_level: int = 2**16 - 1


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        code: Stable identifier, `leakage_exact` for instance; a user accepts a finding by it.
        level: `fail` stops the pipeline before any training, `warn` goes to the report.
        message: One sentence: the rule, what was found, what to do.
        count: Number of images (or classes) concerned.
        examples: At most 8, each `{"path", "split", "label", "thumbnail"}`; the thumbnail is a
            PNG data URI.
        acceptable: Whether a user can accept it; not where no model could be trained or passed.
    """

    code: str
    level: Literal["fail", "warn"]
    message: str
    count: int
    examples: list[dict[str, str]]
    acceptable: bool = True


@dataclasses.dataclass(frozen=True)
class Profile:
    """`profile.json` of the `profile` artifact; `profile.html` beside it is for people.

    Attributes:
        findings: Sorted, `fail` first.
        class_counts: Split -> class name -> number of images.
        figures: Name -> number or short text (`label_entropy_bits`, ...), the report shows all.
        histograms: Name -> `{"edges": [...], "counts": [...], "unit": ...}`.
        thumbnails: Class name -> a few PNG data URIs of training images.
    """

    findings: list[Finding]
    class_counts: dict[str, dict[str, int]]
    figures: dict[str, Any]
    histograms: dict[str, dict[str, Any]]
    thumbnails: dict[str, list[str]]


@dataclasses.dataclass(frozen=True)
class ProbeSummary:
    """`probe.json` of the `probe` artifact; what it decided is in `recipe.json` beside it.

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        notes: What of the recipe does not fit this training, what fell back to a default or could
            not be told, one sentence each.
        reference_batch: B_ref of the trials.
        throughput: Rows `{"batch_size", "images_per_second", "memory_mib", "relative_time"}`.
        variants: Rows `{"batch_size", "images_per_second", "steps_per_call", "jit_compile"}`.
        noise_scale: `{"value", "low", "high", "raw", "scaled", ...}`; `raw` and `scaled` hold one
            value a step, of the raw and the optimizer-preconditioned gradients, null where it is
            not determined.
        range_test: `{"rates", "losses", "plateau_rate", "divergence_rate"}`.
        trials: Rate (as text) -> smoothed losses of its constant-rate trial.
        images_seen: In steps that learned, the throughput measurement not counted.
        seconds: Of the whole stage.
        plain_seconds: Of a plain training on this machine, estimated from the throughput.
    """

    skipped: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    reference_batch: int = 0
    throughput: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    variants: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    noise_scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    range_test: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    images_seen: int = 0
    seconds: float = 0.0
    plain_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class AugmentationTable:
    """`table.json` of the `augmentation` artifact.

    Beside it, unless skipped: `theta.npz`, a trainer's state; `subset.npy`, the positions of the
    training images that it was trained on and that the trials train on; and `examples.npz`:
    transform -> uint8 [L, H, W, C], a training image at its levels, and `original` [H, W, C].

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        checkpoint_steps: Steps that the checkpoint was trained for.
        images_seen: By the checkpoint, its evaluation and the measurements.
        null_distance: Distance between halves of the clean images.
        signals: Rows `{"transform", "magnitude", "distance", "affinity", "loss_shift",
            "loss_shift_error"}`.
        kept: Rows `{"transform", "levels", "kept", "reason"}`: the magnitudes of equal distance
            [L], which of them keep the labels [L], and why none does.
        groups: Rows `{"name", "levels"}`; a level is a list of policy operations.
        regularisers: Hyperparameter that the beam may change -> its value in the recipe.
    """

    skipped: str = ""
    checkpoint_steps: int = 0
    images_seen: int = 0
    null_distance: float = 0.0
    signals: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    kept: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    regularisers: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialSummary:
    """`search.json` of the `search` artifact; what was decided is in `recipe.json` beside it.

    Attributes:
        skipped: Why there was no search; empty when there was.
        decision: One sentence.
        accepted: Whether something was changed.
        notes: What limits what the search can tell, one sentence each.
        plan: `{"steps", "batch_size", "peak_rate", "num_settling", "num_held_out", "num_scored",
            "num_confirming", "num_screened", "num_combined", "num_confirmed"}` of the trials.
        techniques: Rows `{"name", "levels"}`, levels in words.
        trials: Rows `{"round" (of `ROUNDS`), "candidate": {"levels": {technique: level}, "without":
            [transform]}, "seed", "losses", "seconds", "error", "out_of_memory", "loss"}`; the
            loss is the held-out loss in nats, null when the trial failed, and the losses are those
            of parts of the held-out images.
        confirmed: The chosen candidate over fresh seeds and images: `{"candidate", "gain", "error",
            "threshold", "noise", "num_pairs"}`, in nats and pairs of trials; empty when nothing
            came that far.
        steps: How it came about, a technique each: `{"name", "level", "gain", "error"}`: what it
            takes off the held-out loss in nats and the standard error of that over parts of the
            held-out images; both are null where the step was not tried by itself.
        lengthening: `{"factor", "measured", "low", "high", "plain_losses", "policy_losses"}`: steps
            with the policy over steps without, and the curves that tell; empty without a policy.
    """

    skipped: str = ""
    decision: str = ""
    accepted: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    techniques: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    confirmed: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lengthening: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingSummary:
    """`training.json` of the `model` artifact.

    Beside it: `model.keras` (uint8-range float pixels in, logits out), `curves.parquet` (`step`,
    `split`, `metric`, `value`), `tensorboard/`.

    Attributes:
        architecture: Zoo name or URI.
        parameters: Number of weights.
        image_size: `[height, width]` the model takes.
        seed: Of the weights, the order of the images and dropout.
        steps, best_step: Steps done; the step of the checkpoint that was kept.
        validation: Metric -> value of that checkpoint.
        seconds, images_seen, images_per_second: Of the training loop alone.
        plain_seconds: Of one plain training: the set-up and the evaluations of this one, and of its
            steps the share that a training without the policy and what it lengthens would take.
        checks: Sanity check -> what it measured.
        warnings: Sentences for the report.
    """

    architecture: str
    parameters: int
    image_size: list[int]
    seed: int
    steps: int
    best_step: int
    validation: dict[str, float]
    seconds: float
    plain_seconds: float
    images_seen: int
    images_per_second: float
    checks: dict[str, Any]
    warnings: list[str]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`evaluation.json` of the `evaluation` artifact.

    Beside it: `predictions.parquet` (`path`, `label`, `predicted`, `confidence`, `correct`, one
    probability column `p_<class>` per class; labels of a multi-label image are joined by `|`) and
    `model.keras` (probabilities out, calibrated). What the test split leaves undefined (a metric of
    a class without images) is null or absent.

    Attributes:
        primary: The metric that decides.
        metrics: Split (`test`, `validation`) -> metric -> `{"value", "ci95": [low, high]}`; `ece`
            has `chance95` too: what a calibrated model shows.
        baselines: `zero_rule`, `nearest_centroid`, `linear` -> metric -> `{"value", "ci95",
            "difference": {"value", "ci95"}}`, on the test split; the difference is that of the
            model minus the baseline on the same images, and the intervals of a metric against all
            baselines hold together. `ece` has no difference.
        per_class: One row per class: `{"class", "count", "precision", "recall", "f1", "auroc",
            "average_precision"}`.
        confusion: `[true][predicted]` counts on the test split; empty for multi-label.
        curves: `roc` (x false positive rate, y true positive rate) and `precision_recall` (x
            recall, y precision) -> class -> `{"x", "y", "threshold"}`, at most 200 points and the
            20 classes of lowest average precision; for binary the positive class alone.
        calibration: `{"temperature", "ece_before", "ece_after", "ece_chance95_before",
            "ece_chance95_after", "nll_before", "nll_after", "bins_before", "bins_after"}` on the
            test split; bins are `[{"confidence", "accuracy", "count"}]`, empty ones left out.
        mistakes: The most confident ones: `{"path", "label", "predicted", "confidence",
            "thumbnail"}`; the thumbnail is a PNG data URI.
        passed: Whether the model is clearly above the zero rule and clearly below no baseline.
        reasons: Why not, one sentence each.
        outcome: `better` (than every baseline), `indistinguishable` (from one) or `rejected`.
        best_baseline: In the primary metric; empty when that is not defined.
        sentence: The outcome with its figures: the first sentence of the report.
    """

    primary: str
    metrics: dict[str, dict[str, dict[str, Any]]]
    baselines: dict[str, dict[str, dict[str, Any]]]
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    curves: dict[str, dict[str, dict[str, list[float]]]]
    calibration: dict[str, Any]
    mistakes: list[dict[str, Any]]
    passed: bool
    reasons: list[str]
    outcome: str = ""
    best_baseline: str = ""
    sentence: str = ""


@dataclasses.dataclass(frozen=True)
class Export:
    """One entry of `exports.json` of the `exports` artifact; `path` is relative to its folder.

    Attributes:
        format: `keras`, `saved_model`, `onnx`, `tflite` or `tflite_int8`.
        size_bytes: Of the file, or of all files of the folder.
        latency_ms: Median of single-image calls in the format's own runtime.
        metrics: Metric -> value on the test split, measured in that runtime.
        max_abs_difference: Of the probabilities, against Keras.
        passed: Whether the primary metric is within the tolerance of Keras.
        reason: Empty when passed. When the format could not be written or read back, `metrics` is
            empty and the figures are 0.
        num_images: Test images that were measured.
    """

    format: str
    path: str
    size_bytes: int
    latency_ms: float
    metrics: dict[str, float]
    max_abs_difference: float
    passed: bool
    reason: str
    num_images: int = 0


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
    """Reads a file that `write_json` wrote as `kind`, one of the dataclasses of this module."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if kind is Profile:
        content["findings"] = [Finding(**finding) for finding in content["findings"]]
    return kind(**content)
