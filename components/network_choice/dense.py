"""The choice where targets lie in the image: a fine-tuned network, its input and its length."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from kfp_vision.components.network_choice.candidates import Candidate, LineUp
from kfp_vision.components.network_choice.chosen import with_model
from kfp_vision.components.network_choice.time_left import TimeLeft
from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.architectures.multiply_adds import count_multiply_adds
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.network_choice import NetworkChoice
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop, shifts
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, DEFAULT_POLICY
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.tasks.objects import read_objects
from kfp_vision.components.shared.training.setup import build_trainer
from kfp_vision.components.shared.training.step_memory import estimate_memory_mib

__all__ = ["choose_dense", "dense_recipe", "larger"]

# Sides of squares of the areas that images may get whose targets lie in them; 640 px is what
# detectors are usually trained at.
_SIDES = (640, 512, 448, 384, 320, 256)
# Pixels a side of an object, above which more of them have brought nothing.
_OBJECT_SIDE = 32
# Whole trainings that a larger input has to leave time for, and the epochs that each needs.
_TRAININGS, _ENOUGH_EPOCHS = 2, 80
# Of a fine-tuned network with a new head of several layers, which has much to learn and of which
# every image teaches much: small batches, and a rate for the head.
_BATCH, _RATE = 16, 3e-3
# Fewer are too short to learn by heart, and augmented images take longer to learn.
_AUGMENTED_EPOCHS = 16


def choose_dense(
    dataset_dir: Path,
    candidates: LineUp,
    recipe_of: Callable[[Candidate], Recipe],
    left: TimeLeft,
    users_size: list[int] | None,
) -> tuple[Recipe, NetworkChoice]:
    """Returns the fine-tuned network where there is time for it, else the one from scratch.

    Nothing is tried: a trial shows how fast a new decoder learns, which is not what tells the
    networks below it apart. Where all epochs leave half of the time, which a search may take, an
    input that is too small for the objects becomes larger, as far as it surely fits into memory.
    """
    info, tuned, scratch = left.info, candidates.tuned, candidates.scratch
    recipe = recipe_of(tuned)
    model = build_trainer(recipe, info, seed=0)[0].model
    cost, memory_mib = count_multiply_adds(model), estimate_memory_mib(model, _BATCH)
    name = info.task.replace("_", " ")
    why = f"short trainings for {name} show the heads of networks, not the networks below them"
    if scratch and not left.can_tune(cost):
        reason = f"{why}; there is no time to fine-tune a pretrained one"
        return with_model(recipe_of(scratch), info, scratch, reason), NetworkChoice(skipped=reason)
    wanted = _TRAININGS * min(_ENOUGH_EPOCHS, recipe.value(SECTION, "epochs"))

    def affords(area: float) -> bool:
        fits = area * memory_mib <= available_memory_bytes() / MIB
        return fits and left.epochs(round(area * cost)) >= wanted

    has_objects = "boxes" in TASKS[info.task].columns
    usual = read_objects(open_split(dataset_dir, "train")).usual_side if has_objects else None
    chosen = tuned if users_size else larger(tuned, info, usual, affords)
    reason = f"{why}; a pretrained one is fine-tuned"
    if chosen != tuned:
        reason += f", at {chosen.width} x {chosen.height} px, for which there is time"
    area = chosen.height * chosen.width / (tuned.height * tuned.width)
    affordable = left.epochs(round(area * cost))
    learned = dense_recipe(recipe_of(chosen), info, chosen, reason, affordable)
    return learned, NetworkChoice(skipped=reason)


def larger(
    candidate: Candidate,
    info: DatasetInfo,
    usual_side: float | None,
    affords: Callable[[float], bool],
) -> Candidate:
    """Returns a network at the largest input that is of use and that there is time for.

    It is of use up to the pixels of the images, and until the usual object has 32 a side.

    Args:
        candidate: At the size that it is pretrained for, or that of the images.
        info: Of the dataset; its images keep their shape.
        usual_side: As of `Objects`; None for masks of all pixels.
        affords: Area over that of the candidate -> whether there is time for it.
    """
    height, width = info.median_height, info.median_width
    area = candidate.height * candidate.width
    most = min(math.sqrt(height * width), _SIDES[0])
    if usual_side is not None:
        most = min(most, _OBJECT_SIDE / usual_side)
    for side in (most, *_SIDES):
        if area < side**2 <= most**2 and affords(side**2 / area):
            height, width = size_of_area(height, width, side)
            return dataclasses.replace(candidate, height=height, width=width)
    return candidate


def dense_recipe(
    recipe: Recipe, info: DatasetInfo, candidate: Candidate, method: str, affordable: float
) -> Recipe:
    """Returns the recipe of a fine-tuned network whose targets lie in the image.

    Args:
        recipe: Complete, of this candidate.
        info: Of the dataset.
        candidate: The network.
        method: Why it was chosen.
        affordable: Epochs that there is time for.
    """
    num_images = info.splits["train"]
    recipe = with_model(recipe, info, candidate, method)
    rule = "default for a new head of several layers on a pretrained network"
    values = {
        "batch_size": max(1, min(_BATCH, num_images // 4)),
        "learning_rate": _RATE,
    }
    facts = fixed_facts(recipe, info)
    settings = {name: Setting(value, rule, source="rule") for name, value in values.items()}
    recipe = resolve(learn(recipe, SECTION, settings, facts), {}, num_images, facts)
    epochs = min(affordable, recipe.value(SECTION, "epochs"))
    if epochs < _AUGMENTED_EPOCHS:
        return recipe
    # Keypoints that no one has paired may have sides all the same.
    may_flip = not info.keypoint_names or bool(info.keypoint_swaps)
    policy = Setting(
        (flip_and_crop() if may_flip else shifts()).to_json(),
        f"{'flips and shifts' if may_flip else 'shifts'}, as every training of "
        f"{_AUGMENTED_EPOCHS} epochs and more",
        {"epochs": epochs},
        "rule",
    )
    return learn(recipe, AUGMENTATION, {DEFAULT_POLICY: policy}, facts)
