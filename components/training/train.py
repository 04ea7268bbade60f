"""Trains the user's architecture by the recipe and keeps its best checkpoint."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.training_result import (
    JUDGED_FILE,
    MODEL_FILE,
    TrainingResult,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.initial_weights import without_start
from kfp_vision.components.shared.recipe.stage_times import trains_again
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import dataset_name
from kfp_vision.components.shared.report.records import MLFLOW, write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.tracking import Tracker
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import CurveRow
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.shared.training.start_weights import read_start, write_start
from kfp_vision.components.training.events import EventFiles
from kfp_vision.components.training.head import train_head
from kfp_vision.components.training.opening import open_run
from kfp_vision.components.training.outcome import (
    describe_cut,
    recipe_as_trained,
    training_result,
)
from kfp_vision.components.training.refit import fit_again, fit_head_again
from kfp_vision.components.training.stage_report import training_report

__all__ = ["train_model"]


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("prepare the training")
def train_model(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    config: UserChoices,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
    tracker: Tracker | None = None,
) -> TrainingResult:
    """Trains and writes `model.keras`, `training.json`, `curves.parquet`, `recipe.json`.

    Where the user wants it, the model is trained once more, on the validation images, too; what
    they have judged is then `judged.keras`.

    Args:
        dataset_dir: Folder of the dataset.
        recipe_path: The recipe so far; where it names weights to start from, they lie beside it and
            are copied to the output.
        output_dir: Is created.
        checkpoint_dir: Checkpoints of all runs; each run has a folder named after what it depends
            on, so that only the same training goes on from them.
        config: The user's wishes.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task. The length is
            fixed when the training starts: a resumed one has only the rest of it.
        plan: Of the run; None where there is none.
        tracker: Is sent settings and curves; None where nothing follows the training.

    Raises:
        ValueError: A setting is out of range, or the model cannot learn a batch by heart.
        DivergenceError: The loss became NaN or exploded.
    """
    watch = Stopwatch()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    given = read_recipe(recipe_path)
    weights = read_start(given, recipe_path.parent)
    recipe = complete_recipe(given if weights else without_start(given), info, config)
    if weights:
        write_start(weights, output_dir)
    events = EventFiles(output_dir / "tensorboard")
    if tracker:
        identity = training_identity(dataset_dir, recipe, seed=config.seed)
        name = dataset_name({"dataset": {"uri": info.source_uri}})
        tracker.begin(name, identity, _plain_settings(recipe))

    def show(rows: Sequence[CurveRow], anew: bool) -> None:
        events.write(rows, anew)
        if tracker:
            tracker.write(rows, anew)

    is_joined, history = trains_again(recipe), None
    features = checkpoint_dir / "features"
    if recipe.value("model", "trainable") == "head":
        model, summary, curves = train_head(dataset_dir, recipe, info, features, config.seed)
        show(curves, anew=True)
    else:
        run, settings = open_run(
            dataset_dir,
            recipe,
            info,
            checkpoint_dir,
            config.seed,
            cache,
            spent,
            plan,
            watch,
            show,
            weights,
        )
        history = fit(run, settings)
        recipe, curves = recipe_as_trained(recipe, info, history), history.curves
        model, summary = run.trainer.model, training_result(run, history, recipe)
        # Its images and its optimizer would take the memory of a second training.
        del run
    events.close()
    _save(model, output_dir / (JUDGED_FILE if is_joined else MODEL_FILE))
    if is_joined:
        # What the first training holds in memory is free by then.
        del model
        refit = (
            fit_again(dataset_dir, recipe, info, history, checkpoint_dir, config.seed, cache, watch)
            if history
            else fit_head_again(dataset_dir, recipe, info, features, config.seed)
        )
        _save(refit.model, output_dir / MODEL_FILE)
        cut = describe_cut(recipe, "the second training", refit.steps, refit.planned_steps)
        summary = dataclasses.replace(
            summary,
            refit_images=refit.images,
            refit_steps=refit.steps,
            warnings=[*summary.warnings, *cut],
        )
    pq.write_table(pa.Table.from_pylist(curves), output_dir / "curves.parquet")
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(summary, output_dir / "training.json")
    report = training_report(summary, curves, recipe.value("data", "primary_metric"))
    if tracker and (run_id := tracker.flush()):
        report.summary[MLFLOW] = {"run_id": run_id}
    write_stage_report(report, output_dir)
    write_json(StageCost("train", watch.seconds, summary.images_seen), output_dir / COST_FILE)
    return summary


def _plain_settings(recipe: Recipe) -> dict[str, Any]:
    """Returns `section.name` -> value of the settings that are one number or word."""
    return {
        f"{section}.{name}": setting.value
        for section, settings in recipe.sections.items()
        for name, setting in settings.items()
        if isinstance(setting.value, str | int | float)
    }


def _save(model: keras.Model, path: Path) -> None:
    set_precision(model, "float32")
    model.save(path)
