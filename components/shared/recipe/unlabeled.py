"""Whether images without labels are learned, and how many images that takes."""

from typing import Literal

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe

__all__ = ["LABELLED_SHARE", "Arm", "lesson_images", "why_no_self_training"]

Arm = Literal["auto", "always", "never"]
# Of the images that a student sees, at least: those with a label are repeated.
LABELLED_SHARE = 0.2
# Over the images without labels, where those of the plain training are not more.
_PASSES = 2
# Of the training images: with fewer there is little to gain.
_LEAST_SHARE = 0.5


def why_no_self_training(recipe: Recipe, info: DatasetInfo) -> str:
    """Returns why nothing is learned of images without labels; empty where it is tried.

    Args:
        recipe: With the section `data`.
        info: Of the dataset.
    """
    images, labelled = info.splits.get("unlabeled", 0), info.splits["train"]
    wanted, joined = (
        recipe.get("data", name) for name in ("self_train", "use_validation_for_training")
    )
    if not images:
        return "there are no images without labels"
    if wanted is None or wanted.value == "never":
        return "`self_train` is `never`"
    if joined is not None and joined.value:
        return "`use_validation_for_training` leaves no images to judge it by"
    if wanted.value == "auto" and images < _LEAST_SHARE * labelled:
        return (
            f"{images:,} images without labels are few beside {labelled:,} with one; "
            "`self_train: always` tries it"
        )
    return ""


def lesson_images(num_unlabeled: int, plain_images: float) -> float:
    """Returns the images, with repetition, that a student learns.

    Args:
        num_unlabeled: Images without labels.
        plain_images: Of a plain training, with repetition.
    """
    return max(plain_images, _PASSES * num_unlabeled / (1 - LABELLED_SHARE))
