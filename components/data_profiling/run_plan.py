"""The first plan of a run, from the numbers of its images alone."""

from collections.abc import Sequence

from kfp_vision.components.shared.architectures.names import is_compared
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import default_epochs
from kfp_vision.components.shared.recipe.stage_times import plan_stages
from kfp_vision.components.shared.recipe.time_for_stages import start_up_seconds

__all__ = ["first_plan"]

# Training steps of the default network at 24 to 128 px, on two busy cores.
_IMAGES_PER_SECOND = 600
# The start of a task that trains, over that of this one, which imports no TensorFlow.
_START_UPS = 3.5


def first_plan(
    recipe: Recipe,
    info: DatasetInfo,
    spent: Sequence[StageCost],
    architecture: str,
    users_epochs: int = 0,
) -> RunPlan | None:
    """Returns the plan of a run whose network is the smallest one; None without a budget.

    Args:
        recipe: With the section `budget`.
        info: Of the dataset.
        spent: So far.
        architecture: The user's; `auto` where there is none.
        users_epochs: Those of the run, which come before the recipe's; 0 for none.
    """
    if architecture != "auto":
        wanted = Setting(architecture, "pipeline parameter", source="user")
        recipe = recipe.with_settings("model", {"architecture": wanted})
    if users_epochs:
        wanted = Setting(users_epochs, "pipeline parameter", source="user")
        recipe = recipe.with_settings("training", {"epochs": wanted})
    epochs, images = recipe.get("training", "epochs"), info.splits["train"]
    if epochs is None or epochs.source != "user":
        plain_images = default_epochs(images) * images
    else:
        plain_images = epochs.value * images
    return plan_stages(
        recipe,
        spent,
        info,
        plain_images,
        1 / _IMAGES_PER_SECOND,
        _START_UPS * start_up_seconds(spent),
        with_probe=True,
        with_choice=is_compared(architecture),
    )
