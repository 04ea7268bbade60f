"""The stage: compares networks on held-out images, and writes the best one into the recipe."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.network_choice.stage_report import choice_report
from kfp_vision.components.shared.architectures.names import is_compared, is_user_model
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.network_choice import NetworkChoice
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.budget import remaining_seconds
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.initial_weights import RANDOM
from kfp_vision.components.shared.recipe.time_for_stages import start_up_seconds
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import architecture_digest
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import StageWatch

__all__ = ["choose_network"]

_MODEL = ("architecture", "initial_weights", "image_size", "trainable")


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("prepare the comparison")
def choose_network(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    config: UserChoices,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
) -> NetworkChoice:
    """Writes `choice.json`, `recipe.json`, `stage_report.json` and `cost.json`.

    Args:
        dataset_dir: Folder of the dataset.
        recipe_path: The recipe so far.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task; keeps the trials, their time and the features.
        config: The user's wishes, which are never overruled.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.

    Raises:
        ValueError: There is no such architecture, or a setting is out of range.
    """
    watch = StageWatch()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe, notes = _without_foreign(read_recipe(recipe_path), info, config)
    config = dataclasses.replace(config, architecture=_wanted(recipe, config))
    result = NetworkChoice(skipped=_reason_to_skip(recipe, config.architecture))
    if not result.skipped:
        # Imported here: a run without a choice must not start the framework.
        with Progress("start TensorFlow"):
            from kfp_vision.components.network_choice.choosing import choose_by_trials

        seconds = remaining_seconds(recipe, spent)
        start_up_s = start_up_seconds(spent)
        recipe, result = choose_by_trials(
            dataset_dir, recipe, info, checkpoint_dir, config, seconds, start_up_s, watch, cache
        )
    notes += result.notes
    result = dataclasses.replace(result, notes=notes, seconds=watch.seconds)
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(result, output_dir / "choice.json")
    write_stage_report(choice_report(result), output_dir)
    cost = StageCost("choose_network", result.seconds, result.images_seen)
    write_json(cost, output_dir / COST_FILE)
    return result


def _without_foreign(
    recipe: Recipe, info: DatasetInfo, config: UserChoices
) -> tuple[Recipe, list[str]]:
    """Returns the recipe without a choice that was made for other images or against the user."""
    held = recipe.sections.get("model", {})
    chosen = {name for name in _MODEL if name in held and held[name].is_for_context}
    wanted = {
        "architecture": None if config.architecture == "auto" else config.architecture,
        "image_size": [config.image_size] * 2 if config.image_size else None,
    }
    is_other = any(
        value is not None and name in held and held[name].value != value
        for name, value in wanted.items()
    )

    def differs(fact: str, value: str) -> bool:
        return any(held[name].context.get(fact) != value for name in chosen)

    if not chosen:
        return recipe, []
    if differs("data", info.fingerprint):
        reason = "it was chosen on other images, or another split"
    elif is_other:
        reason = "the user has chosen another"
    elif is_user_model(file := _wanted(recipe, config)) and differs(
        "architecture", architecture_digest(file)
    ):
        reason = "the model file is another"
    else:
        return recipe, []
    kept = {name: setting for name, setting in held.items() if name not in chosen}
    return Recipe({**recipe.sections, "model": kept}), [
        f"The network of the recipe that the run starts from is not used: {reason}."
    ]


def _wanted(recipe: Recipe, config: UserChoices) -> str:
    """Returns the architecture that the user asks for; `auto` for none."""
    held = recipe.get("model", "architecture")
    if config.architecture == "auto" and held is not None and held.source == "user":
        return str(held.value)
    return config.architecture


def _reason_to_skip(recipe: Recipe, architecture: str) -> str:
    """Returns why nothing is compared, as far as that is known without the images; or nothing."""
    held = recipe.get("model", "trainable")
    if held is not None and held.is_for_context:
        return "the recipe that the run starts from holds the choice for these images"
    if held is not None and held.source == "user":
        return "`model.trainable` is set by the user"
    if not is_compared(architecture):
        return f"`architecture` is `{architecture}`, which is trained from scratch"
    weights = recipe.get("model", "initial_weights")
    if weights is not None and weights.source == "user" and weights.value == RANDOM:
        return "`model.initial_weights` is `random`, set by the user"
    return ""
