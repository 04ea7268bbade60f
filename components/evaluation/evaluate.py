"""Scores a trained model on the test split, beside baselines, and calibrates it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_vision.components.evaluation.baselines import BASELINES, Samples
from kfp_vision.components.evaluation.bootstrap import score_with_intervals
from kfp_vision.components.evaluation.breakdown import (
    class_rows,
    confusion_counts,
    ranking_curves,
)
from kfp_vision.components.evaluation.calibration import (
    activate,
    calibration_report,
    fit_temperature,
)
from kfp_vision.components.evaluation.inference import (
    compile_inference,
    run_batches,
    with_probabilities,
)
from kfp_vision.components.evaluation.predictions import (
    confident_mistakes,
    decide,
    predictions_table,
)
from kfp_vision.components.shared.artifacts import (
    COST_FILE,
    DatasetInfo,
    Evaluation,
    StageCost,
    read_json,
    write_json,
)
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe import read_recipe
from kfp_vision.components.shared.tasks import Targets, Task, get_task

__all__ = ["EvaluateConfig", "evaluate_model"]

Scores = dict[str, dict[str, Any]]

# Baselines are linear in pixels: more of them cost time and, at this size, no longer help.
_BASELINE_IMAGES = 20_000
_BASELINE_SIDE = {1: 32, 3: 16}


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How thoroughly to evaluate.

    Attributes:
        num_resamples: Of the bootstrap; 1000 place a 95 % bound within 0.1 standard errors.
        num_mistakes: How many to show.
        seed: Of the bootstrap and of the images that baselines are fitted on.
    """

    num_resamples: int = 1000
    num_mistakes: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses a bootstrap that is too small for a 95 % interval."""
        if self.num_resamples < 100:
            raise ValueError(
                "`num_resamples` must be at least 100: an interval rests on the outer 2.5 % on "
                f"either side. Received: {self.num_resamples}"
            )
        if self.num_mistakes < 0 or self.seed < 0:
            raise ValueError(
                "`num_mistakes` and `seed` must not be negative. "
                f"Received: num_mistakes={self.num_mistakes}, seed={self.seed}"
            )


def evaluate_model(
    dataset_dir: Path, model_dir: Path, output_dir: Path, config: EvaluateConfig
) -> Evaluation:
    """Writes `evaluation.json`, `predictions.parquet`, `model.keras` and `cost.json`.

    The temperature is fitted on the validation split; the test split is only ever scored.

    Args:
        dataset_dir: The `dataset` artifact.
        model_dir: The `model` artifact; its `recipe.json` names the primary metric.
        output_dir: Created when absent.
        config: How thoroughly.

    Raises:
        FileNotFoundError: The dataset has no validation or no test split.
        ValueError: An image does not have the labels that the task asks for.
    """
    started = time.monotonic()
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    task, multilabel = get_task(info.task), info.task == "multilabel"
    primary = read_recipe(model_dir / "recipe.json").value("data", "primary_metric")
    model = keras.models.load_model(model_dir / "model.keras", compile=False, safe_mode=True)

    infer, sources, logits, targets = compile_inference(model), {}, {}, {}
    for split in ("validation", "test"):
        source = ImageSource(dataset_dir, split, model.input_shape[1:3], model.input_shape[3])
        logits[split] = run_batches(infer, source, np.arange(len(source)), f"evaluate {split}")
        targets[split] = task.encode(source.labels, len(info.classes))
        sources[split] = source
    temperature = fit_temperature(targets["validation"]["label"], logits["validation"])
    probabilities = {
        split: activate(values / temperature, multilabel) for split, values in logits.items()
    }
    metrics = {
        split: _score(task, targets[split], values, config)
        for split, values in probabilities.items()
    }
    baselines = _score_baselines(dataset_dir, info, task, config)
    reasons = _reasons_to_reject(primary, metrics["test"], baselines["zero_rule"])

    labels = targets["test"]["label"]
    breakdown, table = _break_down(
        info, labels, probabilities["test"], sources["test"], config.num_mistakes
    )
    evaluation = Evaluation(
        primary=primary,
        metrics=metrics,
        baselines=baselines,
        calibration=calibration_report(labels, logits["test"], temperature),
        passed=not reasons,
        reasons=reasons,
        **breakdown,
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    with_probabilities(model, temperature, multilabel).save(output_dir / "model.keras")
    pq.write_table(table, output_dir / "predictions.parquet")
    write_json(evaluation, output_dir / "evaluation.json")
    seen = sum(len(values) for values in logits.values())
    cost = StageCost("evaluate_model", time.monotonic() - started, seen)
    write_json(cost, output_dir / COST_FILE)
    return evaluation


def _score(
    task: Task, targets: Targets, probabilities: np.ndarray, config: EvaluateConfig
) -> Scores:
    return score_with_intervals(task, targets, probabilities, config.num_resamples, config.seed)


def _score_baselines(
    dataset_dir: Path, info: DatasetInfo, task: Task, config: EvaluateConfig
) -> dict[str, Scores]:
    """Returns the test scores of every baseline, calibrated on validation as the model is."""
    limit = _BASELINE_SIDE[info.channels]
    size = (min(info.median_height, limit), min(info.median_width, limit))
    generator = np.random.default_rng(config.seed)
    pixels, targets = {}, {}
    for split in ("train", "validation", "test"):
        # Nothing is kept: only the images drawn are decoded.
        source = ImageSource(dataset_dir, split, size, info.channels, memory_budget_bytes=0)
        chosen = np.arange(len(source))
        if split != "test" and len(source) > _BASELINE_IMAGES:
            chosen = np.sort(generator.choice(len(source), _BASELINE_IMAGES, replace=False))
        pixels[split] = source.take(chosen).reshape(len(chosen), -1)
        targets[split] = task.encode([source.labels[i] for i in chosen], len(info.classes))

    mean, deviation = pixels["train"].mean(axis=0), pixels["train"].std() + 1e-6
    samples = {
        split: Samples(((values - mean) / deviation).astype(np.float32), targets[split]["label"])
        for split, values in pixels.items()
    }
    scores = {}
    for name, fit in BASELINES.items():
        predict = fit(samples["train"], samples["validation"], len(info.classes))
        temperature = fit_temperature(
            samples["validation"].labels, predict(samples["validation"].features)
        )
        logits = predict(samples["test"].features) / temperature
        probabilities = activate(logits, info.task == "multilabel")
        scores[name] = _score(task, targets["test"], probabilities, config)
    return scores


def _reasons_to_reject(primary: str, scores: Scores, zero_rule: Scores) -> list[str]:
    if primary not in scores:
        return [
            f"The primary metric `{primary}` is not defined on the test split; defined are "
            f"{sorted(scores)}. Add test images of every class or choose another metric."
        ]
    low, high = scores[primary]["ci95"]
    floor = zero_rule[primary]["value"]
    if low > floor:
        return []
    return [
        f"Test {primary} {scores[primary]['value']:.4f} (95 % interval {low:.4f} to {high:.4f}) is "
        f"not clearly above {floor:.4f}, what the class frequencies alone reach."
    ]


def _break_down(
    info: DatasetInfo,
    labels: np.ndarray,
    probabilities: np.ndarray,
    source: ImageSource,
    num_mistakes: int,
) -> tuple[dict[str, Any], pa.Table]:
    """Returns the fields of `Evaluation` that explain the metrics, and the predictions."""
    num_classes, multilabel = len(info.classes), info.task == "multilabel"
    present = labels if multilabel else np.eye(num_classes, dtype=np.uint8)[labels]
    table = predictions_table(source.paths, info.classes, present, probabilities, multilabel)
    rows = class_rows(info.classes, present, decide(probabilities, multilabel), probabilities)
    columns = [1] if info.task == "binary" else range(num_classes)
    predicted = probabilities.argmax(axis=1)
    return {
        "per_class": rows,
        "confusion": [] if multilabel else confusion_counts(labels, predicted, num_classes),
        "curves": ranking_curves(rows, columns, present, probabilities),
        "mistakes": confident_mistakes(
            table, present, probabilities, source, multilabel, num_mistakes
        ),
    }, table
