"""Whether networks are trained beside the model, to teach it or to be deployed with it."""

from typing import Literal

from kfp_vision.components.shared.recipe.distilled import (
    is_ensemble_wanted,
    why_no_distillation,
)
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import may_start_pretrained

__all__ = [
    "Deployed",
    "count_teachers",
    "deployed_networks",
    "large_networks",
    "teacher_images",
    "wants_teachers",
    "why_no_teachers",
]

Deployed = Literal["model", "ensemble"]
# Beside the model, where the user wants an ensemble and says no number.
_IN_ENSEMBLE = 2
# Of the images of a plain training, for each network: most are larger than the model.
_PASSES = 2.0


def count_teachers(recipe: Recipe) -> int:
    """Returns how many networks are trained beside the model; 0 for none.

    Those of the user; else one, where a network from scratch is to be taught, or two where an
    ensemble is to be deployed.

    Args:
        recipe: With the section `data`, and the user's architecture.
    """
    wanted = recipe.get("data", "teachers")
    if wanted is not None and wanted.value:
        return int(wanted.value)
    if is_ensemble_wanted(recipe):
        return _IN_ENSEMBLE
    return 0 if why_no_distillation(recipe) or may_start_pretrained(recipe) else 1


def wants_teachers(recipe: Recipe) -> bool:
    """Returns whether the user has asked for teachers, or for what they are needed for.

    Args:
        recipe: With the section `data`.
    """
    asked = {"distill": "always", "deploy": "ensemble"}
    held = {name: recipe.get("data", name) for name in (*asked, "teachers")}
    values = {name: setting.value for name, setting in held.items() if setting is not None}
    is_asked = any(values.get(name) == value for name, value in asked.items())
    return is_asked or bool(values.get("teachers"))


def why_no_teachers(recipe: Recipe) -> str:
    """Returns why no network is trained beside the model; empty where one is.

    Args:
        recipe: As of `count_teachers`.
    """
    joined = recipe.get("data", "use_validation_for_training")
    if joined is not None and joined.value:
        return "`use_validation_for_training` leaves no images to judge them by"
    if count_teachers(recipe):
        return ""
    return why_no_distillation(recipe) or "the network starts from pretrained weights already"


def deployed_networks(recipe: Recipe) -> float:
    """Returns what a forward pass of what is deployed takes, in those of the model alone.

    As estimated before an ensemble is there, by the same share as its training.

    Args:
        recipe: As of `count_teachers`.
    """
    if not is_ensemble_wanted(recipe) or why_no_teachers(recipe):
        return 1.0
    return 1.0 + _PASSES * count_teachers(recipe)


def large_networks(recipe: Recipe) -> int:
    """Returns how many networks of what is deployed are, or may be, pretrained ones.

    Beside a model from scratch one is, the first (`plan_members`); beside a pretrained one all are.

    Args:
        recipe: As of `count_teachers`.
    """
    model = int(may_start_pretrained(recipe))
    if not is_ensemble_wanted(recipe) or why_no_teachers(recipe):
        return model
    return model + (count_teachers(recipe) if model else 1)


def teacher_images(recipe: Recipe, plain_images: float) -> float:
    """Returns what the networks beside the model cost, in images that the model learns.

    Args:
        recipe: As of `count_teachers`.
        plain_images: Of a plain training, with repetition.
    """
    return 0.0 if why_no_teachers(recipe) else _PASSES * count_teachers(recipe) * plain_images
