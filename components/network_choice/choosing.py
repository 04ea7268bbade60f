"""The comparison of networks, from the images that judge to the recipe of the best one."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.network_choice.candidates import Candidate, LineUp, from_scratch, line_up
from kfp_vision.components.network_choice.chosen import learned_recipe, with_model
from kfp_vision.components.network_choice.comparing import Compared, compare
from kfp_vision.components.network_choice.decision import knows_images
from kfp_vision.components.network_choice.dense import choose_dense
from kfp_vision.components.network_choice.images import MIN_IMAGES, MIN_VALIDATION, divide_images
from kfp_vision.components.network_choice.time_left import (
    ACCELERATED_PER_SECOND,
    TRAINED_PER_SECOND,
    TimeLeft,
)
from kfp_vision.components.network_choice.trials import NetworkSize, Trials
from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.multiply_adds import count_multiply_adds
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED, is_user_model
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.network_choice import NetworkChoice
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.recipe.initial_weights import PRETRAINED
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.tasks.linear_cost import FITTED_PER_SECOND
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.precision import find_accelerator
from kfp_vision.components.shared.training.pretrained_head import (
    head_multiply_adds,
    most_head_images,
)
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe

__all__ = ["choose_by_trials"]

# Of the time that remains: the steps of a trial of the first round, for which a longer budget than
# this is not used.
_TRIAL_SHARE, _LONGEST_SECONDS = 1 / 45, 1200.0
# What the frozen network may take at all sizes together, and its multiply-adds a second on two idle
# cores: those of EfficientNet-Lite0 in ONNX Runtime. A model file runs in Keras.
_FROZEN_SHARE, _FROZEN_PER_SECOND = 1 / 30, 7.65e10
# When trials have taken that much of it, no second one begins.
_SECOND_ROUND_SHARE = 0.25
_IGNORANT = (
    "a head on the features of the model file is no better on held-out images than one on those of "
    "the same weights in another order"
)
# With less time than this nothing can be compared.
_LEAST_SECONDS = 45.0


def choose_by_trials(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    checkpoint_dir: Path,
    config: UserChoices,
    seconds: float,
    start_up_s: float,
    watch: StageWatch,
    cache: ImageCache | None = None,
) -> tuple[Recipe, NetworkChoice]:
    """Returns the recipe with the chosen network, and what was compared.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: So far.
        info: Of the dataset.
        checkpoint_dir: Outlives a killed task; keeps the trials, their time and the features.
        config: The user's wishes; an architecture that is not `auto` is a pretrained one, or a
            model file.
        seconds: What remains of the budget; infinite where time is no limit.
        start_up_s: Of a task that trains.
        watch: Of the stage; the first process decides what depends on time.
        cache: Keeps decoded images for other stages and runs; None keeps none.
    """
    is_auto, is_file = config.architecture == "auto", is_user_model(config.architecture)
    network = DEFAULT_PRETRAINED if is_auto else config.architecture
    users_size = _users_size(recipe, config)
    if reason := _impossible(network, users_size):
        return recipe, NetworkChoice(skipped=reason)
    has_scratch = is_auto or (is_file and not _is_users_pretrained(recipe))
    scratch = config.architecture if has_scratch else None
    candidates = line_up(info, network, scratch, users_size)
    frozen, tuned = candidates.frozen, candidates.tuned
    recipe_of = functools.partial(_recipe_of, recipe=recipe, info=info, config=config)
    identity = training_identity(dataset_dir, recipe_of(tuned), seed=config.seed)
    folder = kept_folder(checkpoint_dir / f"choice-{identity}")
    watch.open(folder)
    if seconds < math.inf:
        seconds = watch.once("seconds of the budget", lambda: seconds)
    start_up_s = watch.once("seconds of a start", lambda: start_up_s)
    is_cpu = find_accelerator()[0] == "CPU"
    per_second = TRAINED_PER_SECOND if is_cpu else ACCELERATED_PER_SECOND
    left = TimeLeft(info, seconds, start_up_s, per_second)
    if TASKS[info.task].is_spatial and not is_file:
        return choose_dense(dataset_dir, candidates, recipe_of, left, users_size)
    reason = _no_comparison(candidates) or _too_little(info, seconds)
    if reason and is_file:
        how = "as from scratch" if has_scratch else "by the rules of pretrained networks"
        return recipe, NetworkChoice(skipped=f"{reason}, so the model file is trained {how}")
    if reason:
        # Few images are looked at in their best size, and little time allows the smallest.
        least = frozen[0 if seconds < _LEAST_SECONDS else -1]
        return with_model(recipe, info, least, reason), NetworkChoice(
            skipped=f"{reason}, so a frozen network gets a head, which takes the least of both"
        )
    limit_s = min(seconds, _LONGEST_SECONDS)
    size_of = functools.cache(functools.partial(_size_of, recipe_of=recipe_of, info=info))
    trials = Trials(
        dataset_dir,
        info,
        divide_images(dataset_dir, info, tuned.height * tuned.width),
        _TRIAL_SHARE * limit_s,
        config.seed,
        folder,
        checkpoint_dir / "features",
        size_of,
        int(watch.once("images of a head", lambda: _head_rows(frozen, size_of, limit_s))),
        watch,
        cache,
    )
    if is_file and has_scratch and frozen:
        evidence = _ignorance(trials, recipe_of(tuned), watch)
        if evidence:
            alone = from_scratch(info, network, users_size)
            return with_model(recipe_of(alone), info, alone, _IGNORANT, evidence), NetworkChoice(
                skipped=f"{_IGNORANT} ({evidence['loss']:.3g} and {evidence['shuffled_loss']:.3g} "
                "nats), so it is trained as from scratch",
                num_held_out=trials.num_held_out,
                images_seen=2 * trials.num_head_images,
            )
    last_start = _SECOND_ROUND_SHARE * limit_s
    with Progress("compare networks", unit="trials") as progress:
        field = compare(trials, candidates, recipe_of, left.can_tune, last_start, progress)
    planned = functools.partial(_planned_images, left=left)
    can_select = info.splits["validation"] >= MIN_VALIDATION
    chosen, results = field.summarise(planned, can_select)
    choice = NetworkChoice(
        notes=[
            f"`{each.candidate.name}` does not fit into memory."
            for each in field.all
            if not each.fits
        ]
        + ([_told_of_file(chosen.candidate)] if is_file and has_scratch else []),
        candidates=results,
        augmentation=chosen.augmentation,
        num_held_out=trials.num_held_out,
        images_seen=sum(each.num_images for each in field.all),
    )
    return learned_recipe(chosen, info, results, planned(chosen)), choice


def _head_rows(
    frozen: Sequence[Candidate], size_of: Callable[[Candidate], NetworkSize], seconds: float
) -> int:
    """Returns how many training images the frozen network sees, at every size the same.

    Args:
        frozen: The network at its sizes; none where no head is fitted.
        size_of: Returns what a candidate costs.
        seconds: That the comparison counts on.
    """
    if not frozen:
        return 0
    sizes = [size_of(each) for each in frozen]
    is_file = is_user_model(frozen[0].architecture)
    per_second = TRAINED_PER_SECOND if is_file else _FROZEN_PER_SECOND
    image_s = sum(
        each.multiply_adds / per_second + each.head_multiply_adds / FITTED_PER_SECOND
        for each in sizes
    )
    affordable = int(_FROZEN_SHARE * seconds / max(image_s, 1e-9))
    return min(affordable, *(each.most_head_images for each in sizes))


def _size_of(
    candidate: Candidate, recipe_of: Callable[[Candidate], Recipe], info: DatasetInfo
) -> NetworkSize:
    model = build_trainer(recipe_of(candidate), info, seed=0)[0].model
    return NetworkSize(
        count_multiply_adds(model), head_multiply_adds(model), most_head_images(model)
    )


def _ignorance(trials: Trials, recipe: Recipe, watch: StageWatch) -> dict[str, float]:
    """Returns by which losses the weights of a file know nothing of images; nothing if they do.

    Args:
        trials: Of the choice.
        recipe: Complete, of the frozen file.
        watch: Of the stage.
    """

    @functools.cache
    def losses(is_shuffled: bool) -> np.ndarray:
        return trials.frozen_losses(recipe, is_shuffled=is_shuffled)

    def knows() -> float:
        return float(knows_images(losses(False), losses(True)))

    if watch.once("whether the file knows images", knows):
        return {}
    return {
        "loss": watch.once("loss", lambda: float(losses(False).mean())),
        "shuffled_loss": watch.once("loss when shuffled", lambda: float(losses(True).mean())),
    }


def _is_users_pretrained(recipe: Recipe) -> bool:
    held = recipe.get("model", "initial_weights")
    return held is not None and held.source == "user" and held.value == PRETRAINED


def _no_comparison(candidates: LineUp) -> str:
    """Returns why there is one way only to train a model file; empty where there are more."""
    if candidates.frozen or candidates.scratch:
        return ""
    return "`model.initial_weights` is set by the user and the file keeps its own head"


def _told_of_file(chosen: Candidate) -> str:
    """Returns the sentence on the weights of a model file."""
    if chosen.initial_weights != PRETRAINED:
        return (
            "The weights of the model file count as those of an initialisation: trained with the "
            "usual rates from there it is expected to do best."
        )
    how = "frozen, with a new head" if chosen.trainable == "head" else "fine-tuned"
    return (
        f"The weights of the model file are worth keeping: {how}, it is expected to do better than "
        "trained with the usual rates. `model.initial_weights` of a recipe says otherwise."
    )


def _users_size(recipe: Recipe, config: UserChoices) -> list[int] | None:
    """Returns the [height, width] that the user has set; None for none."""
    held = recipe.get("model", "image_size")
    if config.image_size:
        return [config.image_size] * 2
    return list(held.value) if held is not None and held.source == "user" else None


def _impossible(network: str, users_size: list[int] | None) -> str:
    """Returns why there is no pretrained network to compare; empty where there is."""
    if is_user_model(network):
        return ""
    if reason := missing_weights(network):
        return f"there is no pretrained network at hand, so one is trained from scratch. {reason}"
    least = ARCHITECTURES[network].min_size
    if users_size and min(users_size) < least:
        return (
            f"pretrained networks need {least} pixels a side and `image_size` is "
            f"{min(users_size)}, so one is trained from scratch"
        )
    return ""


def _too_little(info: DatasetInfo, seconds: float) -> str:
    """Returns what there is too little of for a comparison; empty where there is enough."""
    images = info.splits["train"] + info.splits["validation"]
    if images < MIN_IMAGES:
        return f"{images} images are too few to tell networks apart, which takes {MIN_IMAGES}"
    if seconds < _LEAST_SECONDS:
        return f"the budget leaves {seconds:.0f} s, and a comparison takes {_LEAST_SECONDS:.0f}"
    return ""


def _recipe_of(
    candidate: Candidate, recipe: Recipe, info: DatasetInfo, config: UserChoices
) -> Recipe:
    """Returns the complete recipe of a candidate."""
    return complete_recipe(candidate.in_recipe(recipe), info, config)


def _planned_images(compared: Compared, left: TimeLeft) -> float:
    """Returns the images, with repetition, that the whole training of a candidate takes.

    Args:
        compared: After its trials.
        left: What the training may take.
    """
    num_images = left.info.splits["train"]
    if compared.is_frozen or not compared.fits:
        return float(num_images)
    section = compared.recipe.sections[SECTION]
    planned: float = section["epochs"].value * num_images
    if "user" in (section["epochs"].source, section["steps"].source):
        return planned
    seconds = left.training_seconds(compared.rounds[0].multiply_adds)
    return min(planned, max(num_images, seconds / compared.rounds[-1].seconds_per_image))
