"""Whether a network is taught by another one, and how many images that takes."""

from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import may_start_pretrained

__all__ = [
    "FEWEST_PASSES",
    "MOST_PASSES",
    "is_ensemble_wanted",
    "why_no_distillation",
]

# Plain trainings that a student is planned with, and has where there is time: it is patient.
FEWEST_PASSES, MOST_PASSES = 2.0, 8.0


def is_ensemble_wanted(recipe: Recipe) -> bool:
    """Returns whether the user wants to deploy the ensemble in place of the model."""
    deployed = recipe.get("data", "deploy")
    return deployed is not None and deployed.value == "ensemble"


def why_no_distillation(recipe: Recipe) -> str:
    """Returns why no teacher is followed; empty where one is.

    Args:
        recipe: With the section `data`, and the user's architecture.
    """
    wanted, joined = (
        recipe.get("data", name) for name in ("distill", "use_validation_for_training")
    )
    if wanted is None or wanted.value == "never":
        return "`distill` is `never`"
    if joined is not None and joined.value:
        return "`use_validation_for_training` leaves no images to judge it by"
    if is_ensemble_wanted(recipe):
        return "`deploy` is `ensemble`: its members stay together"
    if wanted.value == "always":
        return ""
    architecture = recipe.get("model", "architecture")
    if architecture is None or architecture.source != "user":
        return "the network was chosen among all, and no other one could teach it"
    if may_start_pretrained(recipe):
        return "the network starts from pretrained weights, as its teacher would"
    lengths = (recipe.get("training", name) for name in ("epochs", "steps"))
    if any(each is not None and each.source == "user" for each in lengths):
        return "the length of the training is the user's; `distill: always` adds to it"
    return ""
