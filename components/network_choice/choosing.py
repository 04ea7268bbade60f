"""The comparison of networks, from the images that judge to the recipe of the best one."""

import functools
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.network_choice.candidates import (
    Candidate,
    from_scratch,
    frozen_candidates,
)
from kfp_vision.components.network_choice.comparing import Compared, compare
from kfp_vision.components.network_choice.images import MIN_IMAGES, MIN_VALIDATION, divide_images
from kfp_vision.components.network_choice.trials import Trials
from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED, is_pretrained
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult, NetworkChoice
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.setup import complete_recipe

__all__ = ["choose_by_trials"]

# Of the time that remains: the steps of a trial of the first round, and the whole training of a
# fine-tuned network. A longer budget than this changes no choice.
_TRIAL_SHARE, _TRAINING_SHARE, _LONGEST_SECONDS = 1 / 45, 0.5, 3600.0
# When trials have taken that much of it, no second one begins.
_SECOND_ROUND_SHARE = 0.25
# What trains a pretrained network.
_TUNING = {"learning_rate": 3e-4, "batch_size": 32, "first_layer_rate": 0.1}
_MAX_EPOCHS = 12.0


def choose_by_trials(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    checkpoint_dir: Path,
    config: UserChoices,
    seconds: float,
    cache: ImageCache | None = None,
) -> tuple[Recipe, NetworkChoice]:
    """Returns the recipe with the chosen network, and what was compared.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe: So far.
        info: Of the dataset.
        checkpoint_dir: Outlives a killed task; keeps the trials and the features.
        config: The user's wishes; an architecture that is not `auto` is a pretrained one.
        seconds: What remains of the budget.
        cache: Keeps decoded images for other stages and runs; None keeps none.
    """
    is_auto = config.architecture == "auto"
    network = DEFAULT_PRETRAINED if is_auto else config.architecture
    if reason := _impossible(network, info):
        return recipe, NetworkChoice(skipped=reason)
    seconds = min(seconds, _LONGEST_SECONDS)
    size = recipe.get("model", "image_size")
    users_size = [config.image_size] * 2 if config.image_size else size.value if size else None
    frozen = frozen_candidates(info, network, users_size)
    scratch = from_scratch(info, users_size) if is_auto else None
    recipe_of = functools.partial(_recipe_of, recipe=recipe, info=info, config=config)
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
    field = compare(trials, frozen, scratch, recipe_of, _SECOND_ROUND_SHARE * seconds)
    planned = functools.partial(
        _planned_images, num_images=info.splits["train"], seconds=_TRAINING_SHARE * seconds
    )
    can_select = info.splits["validation"] >= MIN_VALIDATION
    chosen, candidates = field.summarise(planned, can_select)
    choice = NetworkChoice(
        notes=[
            f"`{each.candidate.name}` does not fit into memory."
            for each in field.all
            if not each.fits
        ],
        candidates=candidates,
        num_held_out=trials.num_held_out,
        images_seen=sum(sum(each.images_seen) for each in candidates),
    )
    return _learned(chosen, info, candidates, planned(chosen)), choice


def _impossible(network: str, info: DatasetInfo) -> str:
    """Returns why nothing can be compared; empty where it can."""
    if reason := missing_weights(network):
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
