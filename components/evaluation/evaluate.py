"""Scores a trained model on the test split, beside baselines, and calibrates it."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq

from kfp_vision.components.evaluation.bootstrap import (
    score_against_rivals,
    score_with_intervals,
)
from kfp_vision.components.evaluation.champion import (
    Champion,
    ScoredTest,
    compare_with_champion,
    version_name,
)
from kfp_vision.components.evaluation.stage_report import evaluation_report
from kfp_vision.components.evaluation.verdict import judge
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, PositiveClass
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.training_result import JUDGED_FILE, MODEL_FILE
from kfp_vision.components.shared.champions.known_images import IMAGES_FILE
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.records import join_records
from kfp_vision.components.shared.training.inference import SplitOutputs, compile_inference

__all__ = ["EvaluateConfig", "evaluate_model"]


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
@Progress("evaluate")
def evaluate_model(
    dataset_dir: Path,
    model_dir: Path,
    output_dir: Path,
    config: EvaluateConfig,
    feature_dir: Path | None = None,
    cache: ImageCache | None = None,
    champion: Champion | None = None,
) -> Evaluation:
    """Writes `evaluation.json`, `predictions.parquet`, `model.keras` and what the report takes.

    The temperature, and the score from which on objects are named, are fitted on the validation
    split, of the model that has not learned it; the test split is only ever scored.

    Args:
        dataset_dir: Folder of the dataset.
        model_dir: The `model` artifact; its `recipe.json` names the primary metric and the positive
            class.
        output_dir: Created when absent.
        config: How thoroughly.
        feature_dir: Keeps the features of frozen networks for later runs; None keeps none.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        champion: What a model that passes is compared with; None compares with nothing. Then
            `images.parquet` says which images the model and the champions before it have known.

    Raises:
        FileNotFoundError: The dataset has no validation or no test split.
        ValueError: An image does not have the labels that the task asks for.
    """
    started = time.monotonic()
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe = read_recipe(model_dir / "recipe.json")
    primary, positive = recipe.value("data", "primary_metric"), _positive_class(recipe)
    task = task_of(info, positive.name if positive else None)
    model = _load(model_dir / MODEL_FILE)
    is_refit = (model_dir / JUDGED_FILE).exists()
    judged = _load(model_dir / JUDGED_FILE) if is_refit else model

    images, outputs = {}, {}
    for split, scored in (("validation", judged), ("test", model)):
        images[split] = open_labelled(
            dataset_dir,
            split,
            model.input_shape[1:],
            task,
            len(info.classes),
            cache=cache,
            is_judged=True,
        )
        rows = np.arange(len(images[split]))
        infer = compile_inference(scored)
        outputs[split] = SplitOutputs(infer, images[split], rows, f"evaluate {split}")
    temperature = task.calibrate(outputs["validation"])
    records = {
        split: join_records(task.record(t, task.decode(o, temperature)) for t, o in batches)
        for split, batches in outputs.items()
    }
    bootstrap = (config.num_resamples, config.seed)
    rivals, left_out = task.baselines(dataset_dir, info, primary, config.seed, feature_dir)
    scores, baselines = score_against_rivals(task, records["test"], rivals, *bootstrap)
    validation = score_with_intervals(task, records["validation"], *bootstrap)
    verdict = judge(
        primary,
        scores,
        baselines,
        parts={name: len(held["row"]) for name, held in rivals.items() if "row" in held},
        is_frozen=_model_setting(recipe, "trainable").value == "head",
        is_users=_model_setting(recipe, "architecture").source == "user",
    )
    least_score = task.least_score(records["validation"])
    with Progress("mistakes and curves"):
        explained, table = task.explain(
            images["test"],
            outputs["test"],
            temperature,
            info.classes,
            config.num_mistakes,
            least_score,
        )
    output_dir.mkdir(parents=True, exist_ok=True)
    task.decoding_model(model, temperature).save(output_dir / "model.keras")
    comparison = None
    if champion is not None and verdict.outcome != "rejected":
        test = ScoredTest(dataset_dir, info, task, primary, records["test"], cache)
        name = version_name(output_dir / "model.keras")
        comparison = compare_with_champion(champion, name, test, bootstrap)
        known = champion.known_images().updated(dataset_dir, info.splits)
        known.write(output_dir / IMAGES_FILE)
    evaluation = Evaluation(
        primary=primary,
        metrics={"test": scores, "validation": validation},
        baselines=baselines,
        baselines_left_out=left_out,
        passed=verdict.outcome != "rejected",
        reasons=verdict.reasons,
        outcome=verdict.outcome,
        best_baseline=verdict.baseline,
        sentence=verdict.sentence,
        positive_class=positive,
        is_refit=is_refit,
        champion=comparison,
        least_score=least_score,
        **explained,
    )
    pq.write_table(table, output_dir / "predictions.parquet")
    write_json(evaluation, output_dir / "evaluation.json")
    write_stage_report(evaluation_report(evaluation, info.classes), output_dir)
    seen = sum(map(len, images.values()))
    cost = StageCost("evaluate_model", time.monotonic() - started, seen)
    write_json(cost, output_dir / COST_FILE)
    return evaluation


def _load(path: Path) -> keras.Model:
    return keras.models.load_model(path, compile=False, safe_mode=True)


def _model_setting(recipe: Recipe, name: str) -> Setting:
    return recipe.get("model", name) or Setting(None, "not known", source="default")


def _positive_class(recipe: Recipe) -> PositiveClass | None:
    setting = recipe.sections["data"]["positive_class"]
    if setting.value is None:
        return None
    return PositiveClass(setting.value, setting.evidence["train_share"])
