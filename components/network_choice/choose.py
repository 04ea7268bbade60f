"""The stage: compares networks on held-out images, and writes the best one into the recipe."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.network_choice.candidates import (
    PRETRAINED,
    Candidate,
    from_scratch,
    frozen_candidates,
)
from kfp_vision.components.network_choice.comparing import Compared, compare
from kfp_vision.components.network_choice.images import MIN_IMAGES, MIN_VALIDATION, divide_images
from kfp_vision.components.network_choice.stage_report import choice_report
from kfp_vision.components.network_choice.trials import Trials
from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.architectures.zoo import is_pretrained
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult, NetworkChoice
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.budget import remaining_seconds
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.setup import UserChoices, complete_recipe

__all__ = ["choose_network"]

_MODEL = ("architecture", "image_size", "trainable")
# Of the time that remains: the steps of a trial of the first round, and the whole training of a
# fine-tuned network. A longer budget than this changes no choice.
_TRIAL_SHARE, _TRAINING_SHARE, _LONGEST_SECONDS = 1 / 45, 0.5, 3600.0
# When trials have taken that much of it, no second one begins.
_SECOND_ROUND_SHARE = 0.25
# What trains a pretrained network; `make bench-fine_tuning`.
_TUNING = {"learning_rate": 3e-4, "batch_size": 32, "first_layer_rate": 0.1}
_MAX_EPOCHS = 12.0


@explains_full_disk("output_dir", "checkpoint_dir")
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
        dataset_dir: The `dataset` artifact.
        recipe_path: The recipe so far.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task; keeps the trials and the features.
        config: The user's wishes, which are never overruled.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.

    Raises:
        ValueError: There is no such architecture, or a setting is out of range.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe, notes = _without_foreign(read_recipe(recipe_path), info, config)
    architecture = _wanted(recipe, config)
    result = NetworkChoice(skipped=_reason_to_skip(recipe, info, architecture))
    if not result.skipped:
        size = recipe.get("model", "image_size")
        users_size = [config.image_size] * 2 if config.image_size else size.value if size else None
        network = PRETRAINED if architecture == "auto" else architecture
        frozen = frozen_candidates(info, network, users_size)
        scratch = from_scratch(info, users_size) if architecture == "auto" else None
        recipe_of = functools.partial(_recipe_of, recipe=recipe, info=info, config=config)
        seconds = min(remaining_seconds(recipe, spent), _LONGEST_SECONDS)
        identity = training_identity(dataset_dir, recipe_of(frozen[0]), seed=config.seed)
        trials = Trials(
            dataset_dir,
            info,
            divide_images(dataset_dir, info, max(each.height * each.width for each in frozen)),
            _TRIAL_SHARE * seconds,
            config.seed,
            checkpoint_dir / f"choice-{identity}",
            checkpoint_dir / "features",
            cache,
        )
        planned = functools.partial(
            _planned_images, num_images=info.splits["train"], seconds=_TRAINING_SHARE * seconds
        )
        can_select = info.splits["validation"] >= MIN_VALIDATION
        field = compare(trials, frozen, scratch, recipe_of, _SECOND_ROUND_SHARE * seconds)
        notes += [
            f"`{each.candidate.name}` does not fit into memory."
            for each in field.all
            if not each.fits
        ]
        chosen, candidates = field.summarise(planned, can_select)
        recipe = _learned(chosen, info, candidates, planned(chosen))
        result = NetworkChoice(
            candidates=candidates,
            num_held_out=trials.num_held_out,
            images_seen=sum(sum(each.images_seen) for each in candidates),
        )
    result = dataclasses.replace(result, notes=notes, seconds=time.monotonic() - started)
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
    learned = {name for name in _MODEL if name in held and held[name].source == "learned"}
    fits = all(held[name].context.get("data") == info.fingerprint for name in learned)
    if not learned or (fits and config.architecture == "auto" and not config.image_size):
        return recipe, []
    kept = {name: setting for name, setting in held.items() if name not in learned}
    reason = (
        "the user has chosen another" if fits else "it was chosen on other images, or another split"
    )
    return Recipe({**recipe.sections, "model": kept}), [
        f"The network of the recipe that the run starts from is not used: {reason}."
    ]


def _wanted(recipe: Recipe, config: UserChoices) -> str:
    """Returns the architecture that the user asks for; `auto` for none."""
    held = recipe.get("model", "architecture")
    if config.architecture == "auto" and held is not None and held.source == "user":
        return str(held.value)
    return config.architecture


def _reason_to_skip(recipe: Recipe, info: DatasetInfo, architecture: str) -> str:
    held = recipe.get("model", "trainable")
    if held is not None and held.source == "learned":
        return "the recipe that the run starts from holds the choice for these images"
    if is_user_model(architecture):
        return "`architecture` is a model of the user"
    if architecture != "auto" and not is_pretrained(architecture):
        return f"`architecture` is `{architecture}`, which is trained from scratch"
    if reason := missing_weights(PRETRAINED if architecture == "auto" else architecture):
        return f"there is no pretrained network at hand, so one is trained from scratch. {reason}"
    images = info.splits["train"] + info.splits["validation"]
    if images < MIN_IMAGES:
        return f"{images} images are too few to tell networks apart, which takes {MIN_IMAGES}"
    return ""


def _recipe_of(
    candidate: Candidate, recipe: Recipe, info: DatasetInfo, config: UserChoices
) -> Recipe:
    """Returns the complete recipe of a candidate."""
    recipe = complete_recipe(candidate.in_recipe(recipe), info, config)
    if candidate.trainable == "head" or not is_pretrained(candidate.architecture):
        return recipe
    method = "default for a pretrained network"
    settings = {name: Setting(value, method) for name, value in _TUNING.items()}
    return _with_learned(recipe, info, {**settings, "epochs": Setting(_MAX_EPOCHS, method)})


def _planned_images(compared: Compared, num_images: int, seconds: float) -> float:
    """Returns the images, with repetition, that the whole training of a candidate takes.

    Args:
        compared: After its trials.
        num_images: Training images.
        seconds: What a pretrained network may take; networks from scratch have their own length.
    """
    if compared.is_frozen or not compared.fits:
        return float(num_images)
    epochs = compared.recipe.sections[SECTION]["epochs"]
    planned: float = epochs.value * num_images
    if epochs.source == "user" or not is_pretrained(compared.candidate.architecture):
        return planned
    affordable = seconds / compared.rounds[-1].seconds_per_image
    return min(planned, max(num_images, affordable))


def _learned(
    chosen: Compared, info: DatasetInfo, results: Sequence[CandidateResult], planned_images: float
) -> Recipe:
    """Returns the recipe with the choice and, for a fine-tuned network, its length."""
    candidate = chosen.candidate
    evidence = {
        f"{each.architecture}, {each.image_size[1]} x {each.image_size[0]} px, {each.trainable}": {
            "projected_loss": each.projected,
            "behind": each.behind,
        }
        for each in results
    }
    method = (
        "lowest projected loss on held-out images after short trainings; of those within one "
        "standard error, the cheapest in inference"
    )
    context = {"data": info.fingerprint}
    values = {
        "architecture": candidate.architecture,
        "image_size": [candidate.height, candidate.width],
        "trainable": candidate.trainable,
    }
    model = {
        name: Setting(value, method, evidence if name == "architecture" else {}, context=context)
        for name, value in values.items()
    }
    recipe = chosen.recipe.with_settings("model", model)
    if candidate.trainable == "head" or not is_pretrained(candidate.architecture):
        return recipe
    epochs = Setting(
        planned_images / info.splits["train"],
        f"what the time allows at the measured speed, within 1 and {_MAX_EPOCHS:g}",
        {"seconds_per_image": chosen.rounds[-1].seconds_per_image},
    )
    return _with_learned(recipe, info, {"epochs": epochs})


def _with_learned(recipe: Recipe, info: DatasetInfo, settings: dict[str, Setting]) -> Recipe:
    """Returns the complete recipe with learned settings of its training."""
    facts = fixed_facts(recipe, info)
    return resolve(learn(recipe, SECTION, settings, facts), {}, info.splits["train"], facts)
