"""The stage: decides whether there is a search, and measures the transforms for it."""

from pathlib import Path

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.report.records import StageReport, write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.search.plan import LEAST_LOOKED_AT, plan_search
from kfp_vision.components.shared.training.checkpoints import Stopwatch

__all__ = ["search_augmentation"]


@explains_full_disk("output_dir", "checkpoint_dir")
def search_augmentation(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    search: bool,
    seed: int,
) -> AugmentationTable:
    """Writes `table.json` and `cost.json` and, for a search, `checkpoint.npz` and `examples.npz`.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: The complete recipe.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        search: False measures nothing and leaves the policy to the recipe.
        seed: Of the search.
    """
    watch = Stopwatch()
    output_dir.mkdir(parents=True, exist_ok=True)
    recipe = read_recipe(recipe_path)
    skipped = ""
    if not search:
        skipped = "`search_augmentation` is false"
    elif recipe.get("augmentation", "policy") is not None:
        skipped = "the recipe that the run starts from says how to augment"
    else:
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        plan = plan_search(recipe, info)
        if plan.num_held_out < LEAST_LOOKED_AT:
            skipped = (
                f"{plan.num_held_out} held-out images are too few to tell harm from chance, which "
                f"takes {LEAST_LOOKED_AT}"
            )
        elif not plan.num_screened:
            skipped = (
                "a plain training is so short that 0.6 of its cost are too few trials to tell "
                "harm from chance"
            )
    table = AugmentationTable(skipped=skipped)
    if not skipped:
        # Imported here: a run without a search must not start the framework.
        from kfp_vision.components.augmentation_search.measure import measure_transforms

        identity = training_identity(dataset_dir, recipe, seed=seed)
        folder = checkpoint_dir / f"augmentation-{identity}"
        table = measure_transforms(dataset_dir, recipe, output_dir, folder, plan, watch, seed)
    write_json(table, output_dir / "table.json")
    write_stage_report(StageReport(summary={"augmentation": table}), output_dir)
    cost = StageCost("search_augmentation", watch.seconds, table.images_seen)
    write_json(cost, output_dir / COST_FILE)
    return table
