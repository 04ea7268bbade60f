"""The stage: decides whether there is a search, and measures the transforms for it."""

from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.augmentation_search.planning import (
    MIN_EVAL_IMAGES,
    MIN_TRIALS,
    SEARCH_BUDGET_SHARE,
    plan_search,
)
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable, SearchPlan
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import (
    json_text,
    read_json,
    write_json,
)
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe
from kfp_vision.components.shared.recipe.stage_times import search_images
from kfp_vision.components.shared.report.records import StageReport, write_stage_report
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.training.checkpoints import Stopwatch

__all__ = ["search_augmentation"]

_STAGE = "search_augmentation"
_PLAN_FILE = "plan.json"


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("prepare the search")
def search_augmentation(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    search: bool,
    seed: int,
    cache: ImageCache | None = None,
    budget: RunPlan | None = None,
    spent: Sequence[StageCost] = (),
) -> AugmentationTable:
    """Writes `table.json` and `cost.json` and, for a search, `START` and `examples.npz`.

    Args:
        dataset_dir: Folder of the dataset.
        recipe_path: The complete recipe.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        search: False measures nothing and leaves the policy to the recipe.
        seed: Seed of the search.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        budget: The plan of the run; None for a search without a limit.
        spent: Of the budget, by the stages before and by the start of this task.
    """
    watch = Stopwatch()
    output_dir.mkdir(parents=True, exist_ok=True)
    recipe = read_recipe(recipe_path)
    table = AugmentationTable(skipped="`search_augmentation` is false")
    if search and recipe.get("augmentation", "policy") is not None:
        table = AugmentationTable(skipped="the recipe that the run starts from says how to augment")
    elif search and recipe.value("model", "trainable") == "head":
        table = AugmentationTable(skipped="the network is frozen: its head sees cached features")
    elif search:
        identity = training_identity(dataset_dir, recipe, seed=seed)
        folder = kept_folder(checkpoint_dir / f"augmentation-{identity}")
        plan, skipped = _plan(dataset_dir, recipe, folder / _PLAN_FILE, watch, budget, spent)
        table = AugmentationTable(skipped=skipped, plan=plan)
        if not skipped:
            # Imported here: a run without a search must not start the framework.
            with Progress("start TensorFlow"):
                from kfp_vision.components.augmentation_search.measure import measure_transforms

            features = checkpoint_dir / "features"
            table = measure_transforms(
                dataset_dir, recipe, output_dir, folder, plan, watch, seed, cache, features
            )
    write_json(table, output_dir / "table.json")
    write_stage_report(StageReport(summary={"augmentation": table}), output_dir)
    cost = StageCost(_STAGE, watch.seconds, table.images_seen)
    write_json(cost, output_dir / COST_FILE)
    return table


def _plan(
    dataset_dir: Path,
    recipe: Recipe,
    kept: Path,
    watch: Stopwatch,
    budget: RunPlan | None,
    spent: Sequence[StageCost],
) -> tuple[SearchPlan, str]:
    """Returns the plan and why there is no search; a search that goes on has the plan it had."""
    if kept.exists():
        return read_json(SearchPlan, kept), ""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    plan = unlimited = plan_search(recipe, info)
    if budget is not None:
        now = [*spent, StageCost(_STAGE, watch.seconds, 0)]
        plan = plan_search(recipe, info, search_images(budget, recipe, now))
    skipped = _too_little(unlimited, info.splits["validation"])
    if budget and not skipped and not plan.num_trials:
        skipped = (
            f"the budget of {budget.minutes:g} minutes leaves no time for a checkpoint and "
            f"{MIN_TRIALS} trials"
        )
    if not skipped:
        # What has been learned and tried belongs to this plan; another start has other seconds.
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json_text(plan).encode())
    return plan, skipped


def _too_little(plan: SearchPlan, num_validation: int) -> str:
    """Returns why there is no search; empty where there is one.

    Args:
        plan: Without a limit of time.
        num_validation: Images of the validation split.
    """
    if plan.num_held_out < MIN_EVAL_IMAGES:
        return (
            f"{plan.num_held_out} held-out images ({num_validation} of validation and "
            f"{plan.num_held_out - num_validation} of train that the checkpoint of the search "
            f"would not learn) are too few to compare candidates, which takes {MIN_EVAL_IMAGES}"
        )
    if not plan.num_trials:
        return (
            f"{SEARCH_BUDGET_SHARE:.0%} of the training budget is too small for a checkpoint and "
            f"{MIN_TRIALS} trials"
        )
    return ""
