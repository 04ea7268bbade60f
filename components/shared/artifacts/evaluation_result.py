"""The `evaluation` and `exports` artifacts: scores, predictions and the exported models."""

import dataclasses
from typing import Any

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison

__all__ = ["Evaluation", "Export", "PositiveClass"]


@dataclasses.dataclass(frozen=True)
class PositiveClass:
    """The class that ranking metrics are of, and its share of the training images."""

    name: str
    train_share: float


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
        baselines: `zero_rule`, `nearest_centroid`, `linear`, `frozen_features` -> metric ->
            `{"value", "ci95", "difference": {"value", "ci95"}}`, on the test split (of a large
            one `frozen_features` takes a part); the difference is that of the
            model minus the baseline on the same images, and the intervals of a metric against all
            baselines hold together. `ece` has no difference.
        per_class: One row per class: `{"class", "count", "precision", "recall", "f1", "auroc",
            "average_precision"}`.
        per_keypoint: One row per keypoint: `{"keypoint", "count", "pck", "median_distance"}`, the
            distance as a share of the diagonal of the image; empty for other tasks.
        confusion: `[true][predicted]` counts on the test split; empty for multi-label.
        curves: `roc` (x false positive rate, y true positive rate) and `precision_recall` (x
            recall, y precision) -> class -> `{"x", "y", "threshold"}`, at most 200 points and the
            20 classes of lowest average precision; for binary the positive class alone.
        calibration: `{"temperature", "ece_before", "ece_after", "ece_chance95_before",
            "ece_chance95_after", "nll_before", "nll_after", "bins_before", "bins_after"}` on the
            test split; bins are `[{"confidence", "accuracy", "count"}]`, empty ones left out.
        mistakes: The most confident ones: `{"path", "label", "predicted", "confidence",
            "thumbnail"}`; the thumbnail is a data URI.
        counted: What `confusion` counts: `images` or `pixels`; `objects` where it is left out, and
            `count` of `per_class` is of objects.
        pictures: The worst test images and the best of those with something right, with truth and
            prediction: `{"kind", "path", "measure", "score", "picture"}`, the last a data URI.
        passed: Whether the model is clearly above the zero rule and clearly below no baseline.
        reasons: Why not, one sentence each.
        outcome: `better` (than every baseline), `indistinguishable` (from one), `outperformed` (by
            pretrained features) or `rejected`.
        best_baseline: In the primary metric; empty when that is not defined.
        sentence: The outcome with its figures: the first sentence of the report.
        baselines_left_out: Which could not be measured and why, one sentence each.
        positive_class: Of `auroc`, `average_precision` and the curves; None where they are of all
            classes.
        is_refit: Whether the model has learned the validation images, too: `validation` and the
            temperature are then those of the same training without them.
        champion: The comparison with the champion; None where none was asked for, and of a model
            that is rejected.
        least_score: From which on objects are named, by the validation images; None where nothing
            has a score.
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
    baselines_left_out: list[str] = dataclasses.field(default_factory=list)
    positive_class: PositiveClass | None = None
    is_refit: bool = False
    champion: ChampionComparison | None = None
    counted: str = "images"
    pictures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    per_keypoint: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    least_score: float | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    """One entry of `exports.json` of the `exports` artifact; `path` is relative to its folder.

    Attributes:
        format: `keras`, `saved_model`, `onnx`, `tflite` or `tflite_int8`.
        size_bytes: Of the file, or of all files of the folder.
        latency_ms: Median of single-image calls in the format's own runtime.
        metrics: Metric -> value on the test split, measured in that runtime.
        max_abs_difference: Of a probability, against Keras; of objects that of all scores over
            their sum.
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
