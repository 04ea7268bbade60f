"""Which networks are trained beside the model: what is different about each, and its recipe."""

import dataclasses
import itertools

from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED, is_pretrained
from kfp_vision.components.shared.architectures.zoo import useful_sizes
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe import budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

__all__ = ["BOOSTED", "BOOTSTRAP", "PRETRAINED", "PlannedMember", "plan_members"]

PRETRAINED, SEED, LARGER, BOOTSTRAP, BOOSTED = (
    "pretrained",
    "seed",
    "larger",
    "bootstrap",
    "boosted",
)
# Networks of the same weights differ more by their seed than by their images (Nixon et al., 2020,
# Why Aren't Bootstrapped Neural Networks Better?), so the seed comes first.
_KINDS = (SEED, LARGER, BOOTSTRAP, BOOSTED)
# Architecture -> the next one of more parameters.
_LARGER = {
    "separable": "resnet20",
    "resnet20": "resnet_rs_18",
    "mobilenet_v3_small": "mobilenet_v3_large",
    "efficientnet_lite0_imagenet": "efficientnet_lite1_imagenet",
    "efficientnet_lite1_imagenet": "efficientnet_lite2_imagenet",
}


@dataclasses.dataclass(frozen=True)
class PlannedMember:
    """A network before its training.

    Attributes:
        kind: What is different about it, as in `Member`.
        recipe: Complete; every layer learns.
        seed: Of its weights, its order, its augmentation and its draw of the images.
    """

    kind: str
    recipe: Recipe
    seed: int


def plan_members(recipe: Recipe, info: DatasetInfo, number: int, seed: int) -> list[PlannedMember]:
    """Returns the networks that are trained beside the model, the most useful first.

    Args:
        recipe: Of the training of the model.
        info: Of the dataset.
        number: How many.
        seed: Of the model.
    """
    kinds = [] if starts_pretrained(recipe) or missing_weights(DEFAULT_PRETRAINED) else [PRETRAINED]
    larger = _LARGER.get(recipe.value("model", "architecture"))
    if larger and is_pretrained(larger) and missing_weights(larger):
        larger = None
    others = itertools.cycle(kind for kind in _KINDS if larger or kind != LARGER)
    kinds += itertools.islice(others, number)
    kinds = kinds[:number]
    networks = {PRETRAINED: DEFAULT_PRETRAINED, LARGER: larger}
    # A complete recipe takes the network to be built: once for each kind.
    recipes = {kind: _recipe_of(networks.get(kind), recipe, info) for kind in set(kinds)}
    return [PlannedMember(kind, recipes[kind], seed + at) for at, kind in enumerate(kinds, start=1)]


def _recipe_of(network: str | None, recipe: Recipe, info: DatasetInfo) -> Recipe:
    """Returns the complete recipe of a member.

    Args:
        network: Of the zoo, which is trained by the defaults: what was measured, or set by the
            user, was for the model. None for that of the model.
        recipe: Of the training of the model.
        info: Of the dataset.
    """
    every = Setting("all", "a teacher learns in every layer")
    if network is None:
        recipe = recipe.with_settings("model", {"trainable": every})
        return complete_recipe(recipe, info, UserChoices())
    model = {"architecture": Setting(network, "a teacher"), "trainable": every}
    if is_pretrained(network):
        sizes = useful_sizes(network, info.median_height, info.median_width)
        # A network that is larger in both ways would take the time that its training needs.
        size = sizes[len(sizes) // 2]
        model["image_size"] = Setting(list(size), "the middle one of the useful sizes")
    kept = {
        name: recipe.sections[name] for name in ("data", budget.SECTION) if name in recipe.sections
    }
    return complete_recipe(Recipe({**kept, "model": model}), info, UserChoices())
