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
from kfp_vision.components.evaluation.bootstrap import (
    score_against_rivals,
    score_with_intervals,
)
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
from kfp_vision.components.evaluation.stage_report import evaluation_report
from kfp_vision.components.evaluation.verdict import judge
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.tasks import Task, get_task

__all__ = ["EvaluateConfig", "evaluate_model"]

# Baselines are linear in pixels: more of them cost time and, at this size, no longer help.
_BASELINE_IMAGES = 20_000
_BASELINE_SIDE = {1: 32, 3: 16}


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How thoroughly to evaluate.

    Attributes:
        num_resamples: Of the bootstrap; of 1000 a standard error is right within 2 %.
        num_mistakes: How many to show.
        seed: Of the bootstrap and of the images that baselines are fitted on.
    """

    num_resamples: int = 1000
    num_mistakes: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses a bootstrap that is too small for a standard error."""
        if self.num_resamples < 100:
            raise ValueError(
                "`num_resamples` must be at least 100, else the intervals are of any width. "
                f"Received: {self.num_resamples}"
            )
        if self.num_mistakes < 0 or self.seed < 0:
            raise ValueError(
                "`num_mistakes` and `seed` must not be negative. "
                f"Received: num_mistakes={self.num_mistakes}, seed={self.seed}"
            )


@explains_full_disk("output_dir")
def evaluate_model(
    dataset_dir: Path, model_dir: Path, output_dir: Path, config: EvaluateConfig
) -> Evaluation:
    """Writes `evaluation.json`, `predictions.parquet`, `model.keras` and what the report takes.

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
    bootstrap = (config.num_resamples, config.seed)
    rivals = _predict_baselines(dataset_dir, info, task, primary == "balanced_accuracy", config)
    scores, baselines = score_against_rivals(
        task, targets["test"], probabilities["test"], rivals, *bootstrap
    )
    validation = score_with_intervals(
        task, targets["validation"], probabilities["validation"], *bootstrap
    )
    verdict = judge(primary, scores, baselines)
    labels = targets["test"]["label"]
    breakdown, table = _break_down(
        info, labels, probabilities["test"], sources["test"], config.num_mistakes
    )
    evaluation = Evaluation(
        primary=primary,
        metrics={"test": scores, "validation": validation},
        baselines=baselines,
        calibration=calibration_report(labels, logits["test"], temperature),
        passed=verdict.outcome != "rejected",
        reasons=verdict.reasons,
        outcome=verdict.outcome,
        best_baseline=verdict.baseline,
        sentence=verdict.sentence,
        **breakdown,
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    with_probabilities(model, temperature, multilabel).save(output_dir / "model.keras")
    pq.write_table(table, output_dir / "predictions.parquet")
    write_json(evaluation, output_dir / "evaluation.json")
    write_stage_report(evaluation_report(evaluation, info.classes), output_dir)
    seen = sum(len(values) for values in logits.values())
    cost = StageCost("evaluate_model", time.monotonic() - started, seen)
    write_json(cost, output_dir / COST_FILE)
    return evaluation


def _predict_baselines(
    dataset_dir: Path, info: DatasetInfo, task: Task, balanced: bool, config: EvaluateConfig
) -> dict[str, np.ndarray]:
    """Returns the test probabilities of every baseline, calibrated on validation as the model is.

    Args:
        dataset_dir: The `dataset` artifact.
        info: Of the dataset.
        task: Of the images.
        balanced: Whether every class counts the same.
        config: Holds the seed.
    """
    limit = _BASELINE_SIDE[info.channels]
    size = (min(info.median_height, limit), min(info.median_width, limit))
    generator = np.random.default_rng(config.seed)
    pixels, targets = {}, {}
    for split in ("train", "validation", "test"):
        # Nothing is kept: only the images drawn are decoded, and each of them once.
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
    probabilities = {}
    for name, fit in BASELINES.items():
        predict = fit(samples["train"], samples["validation"], len(info.classes), balanced)
        temperature = fit_temperature(
            samples["validation"].labels, predict(samples["validation"].features)
        )
        logits = predict(samples["test"].features) / temperature
        probabilities[name] = activate(logits, info.task == "multilabel")
    return probabilities


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
