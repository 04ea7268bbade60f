"""What image size and batch a machine and its images allow, before anything is trained."""

import math

import keras

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.training.step_memory import least_memory_mib

__all__ = ["check_enlargement", "check_memory"]

# Of the side of the images. Pretrained networks take 224 px, 7 times the 32 px of small images;
# beyond 16 times it is more likely a typing error.
_MAX_ENLARGEMENT = 16


def check_enlargement(recipe: Recipe, info: DatasetInfo) -> None:
    """Checks that the images are not enlarged too much.

    Args:
        recipe: Complete.
        info: Of the dataset.

    Raises:
        ValueError: The user asks for more than 16 times their side.
    """
    asked = recipe.sections["model"]["image_size"]
    height, width = asked.value
    images = math.sqrt(info.median_height * info.median_width)
    if asked.source == "user" and math.sqrt(height * width) > _MAX_ENLARGEMENT * images:
        raise ValueError(
            f"`image_size` must be at most {_MAX_ENLARGEMENT} times the images, which hold no more "
            f"detail. {_received(recipe, info)}. Leave it at 0 to follow the images."
        )


def check_memory(
    recipe: Recipe, info: DatasetInfo, model: keras.Model, batch_size: int, free_mib: float
) -> None:
    """Checks that a training step can fit into memory.

    Args:
        recipe: Complete.
        info: Of the dataset.
        model: That of the recipe.
        batch_size: Of the step.
        free_mib: What may be used.

    Raises:
        MemoryError: It needs more than is free.
    """
    need_mib = least_memory_mib(model, batch_size)
    if need_mib > free_mib:
        raise MemoryError(
            f"A training step must fit into memory. {_received(recipe, info)}, `batch_size` "
            f"{batch_size} and `architecture` {recipe.value('model', 'architecture')}: at least "
            f"{need_mib / 1024:,.1f} GiB, and {free_mib / 1024:,.1f} GiB may be used on this "
            "machine and in its container. Lower `image_size` (0 follows the images) or "
            "`batch_size`, or take a machine with more memory."
        )


def _received(recipe: Recipe, info: DatasetInfo) -> str:
    height, width = recipe.value("model", "image_size")
    return (
        f"Received: `image_size` {height}x{width} for images of "
        f"{info.median_height}x{info.median_width} pixels (median)"
    )
