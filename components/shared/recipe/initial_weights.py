"""`model.initial_weights`: what the weights are worth that a network starts from.

The name of a network of the zoo says it. Of a model file nobody but a measurement, or its user, can
tell: it holds weights either way.
"""

from kfp_vision.components.shared.architectures.names import is_pretrained, is_user_model
from kfp_vision.components.shared.recipe.document import Recipe, Setting

__all__ = [
    "PRETRAINED",
    "RANDOM",
    "START_WEIGHTS",
    "check_initial_weights",
    "default_initial_weights",
    "may_start_pretrained",
    "starts_pretrained",
    "weights_of_name",
    "without_start",
]

RANDOM, PRETRAINED = "random", "pretrained"
# Of the section `model`: the digest of weights that a pretraining of the run has found.
START_WEIGHTS = "start_weights"


def starts_pretrained(recipe: Recipe) -> bool:
    """Returns whether the network of a recipe is trained as one with pretrained weights."""
    setting = recipe.get("model", "initial_weights")
    return setting is not None and setting.value == PRETRAINED


def may_start_pretrained(recipe: Recipe) -> bool:
    """Returns whether the network is, or may become, one with pretrained weights."""
    architecture = recipe.get("model", "architecture")
    if architecture is None:
        return True
    return starts_pretrained(recipe) or weights_of_name(architecture.value) == PRETRAINED


def weights_of_name(architecture: str) -> str:
    """Returns what the name of an architecture says; of a model file, what is taken for granted."""
    return PRETRAINED if is_pretrained(architecture) else RANDOM


def default_initial_weights(architecture: str) -> Setting:
    """Returns the setting of an architecture that nothing was measured of."""
    method = "by the name of the architecture"
    if is_user_model(architecture):
        method = "not measured: the weights of the file are trained as those of an initialisation"
    return Setting(weights_of_name(architecture), method, source="default")


def check_initial_weights(recipe: Recipe) -> None:
    """Checks the setting of a complete section `model`.

    Raises:
        ValueError: It is not one of the two values, or not what the name of a network of the zoo
            says.
    """
    architecture, value = (
        recipe.value("model", name) for name in ("architecture", "initial_weights")
    )
    allowed = [RANDOM, PRETRAINED]
    if not is_user_model(architecture):
        allowed = [weights_of_name(architecture)]
    if value not in allowed:
        raise ValueError(
            f"`model.initial_weights` of the recipe must be {' or '.join(map(repr, allowed))} for "
            f"`architecture` {architecture}. Received: {value!r}. Remove it, or name a model file "
            "or another network."
        )


def without_start(recipe: Recipe) -> Recipe:
    """Returns a recipe that names no weights of a pretraining: those of an earlier run are gone."""
    if recipe.get("model", START_WEIGHTS) is None:
        return recipe
    held = recipe.sections["model"]
    model = {name: setting for name, setting in held.items() if name != START_WEIGHTS}
    return Recipe({**recipe.sections, "model": model})
