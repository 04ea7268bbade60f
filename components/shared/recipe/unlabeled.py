"""Whether images without labels are learned, and how many images that takes."""

from typing import Literal

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import RANDOM

__all__ = [
    "Arm",
    "ENOUGH_JUDGES",
    "LABELLED_SHARE",
    "affordable_passes",
    "fewest_passes",
    "labelled_repeats",
    "lesson_images",
    "pretraining_images",
    "pretraining_passes",
    "self_training_images",
    "why_no_pretraining",
    "why_no_self_training",
]

Arm = Literal["auto", "always", "never"]
# Fewer validation images tell little: a trial on half of the labels comes first.
ENOUGH_JUDGES = 100
# Of the images that a student sees, at least: those with a label are repeated.
LABELLED_SHARE = 0.2
# Over the images without labels, where those of the plain training are not more.
_PASSES = 2
# Of a plain training: where few images judge, networks that learn half of the labels, and all.
_LABELS_ALONE = 1.5
# Of the training images: with fewer there is little to gain.
_LEAST_SHARE = 0.5
# The same of pretraining, which says less of each.
_LEAST_MULTIPLE = 4
# Of pretraining: so many images, each in two views, within these passes over them.
_PRETRAINED, _MOST_PASSES, _FEWEST_PASSES = 400_000, 50, 2
# Of these, `auto` wants so much. Not measured: the card says what would tell.
_LEAST_LENGTH = 0.8
# Both losses go a third of the way, one of them all of it; two trainings of labels then decide.
_ARMS, _VIEWS, _TRIALS = 4 / 3, 2, 2


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


def labelled_repeats(
    num_labelled: int, num_unlabeled: int, labelled_share: float = LABELLED_SHARE
) -> int:
    """Returns how often images with labels are in a list, those without being there once.

    Args:
        num_labelled: Images with labels.
        num_unlabeled: Images without.
        labelled_share: Of the list, at least nearly.
    """
    wanted = labelled_share / (1 - labelled_share) * num_unlabeled
    return max(1, round(wanted / num_labelled))


def lesson_images(num_unlabeled: int, plain_images: float) -> float:
    """Returns the images, with repetition, that a student learns.

    Args:
        num_unlabeled: Images without labels.
        plain_images: Of a plain training, with repetition.
    """
    return max(plain_images, _PASSES * num_unlabeled / (1 - LABELLED_SHARE))


def self_training_images(info: DatasetInfo, plain_images: float) -> float:
    """Returns the images, with repetition, that self-training sees until a student is kept.

    A student learns labels alone, and one the other images too. Where few images judge, a trial of
    both comes first, and what teaches it and the round learns labels alone.

    Args:
        info: Of the dataset.
        plain_images: Of a plain training, with repetition.
    """
    lesson = lesson_images(info.splits["unlabeled"], plain_images)
    if info.splits.get("validation", 0) >= ENOUGH_JUDGES:
        return 2 * lesson
    return 3 * lesson + _LABELS_ALONE * plain_images


def why_no_pretraining(recipe: Recipe, info: DatasetInfo) -> str:
    """Returns why nothing is learned of images before their labels; empty where it is tried.

    Args:
        recipe: With the section `data`, and with `model` once the network is known.
        info: Of the dataset.
    """
    images, labelled = info.splits.get("unlabeled", 0), info.splits["train"]
    wanted, joined, trainable, start = (
        recipe.get(section, name)
        for section, name in (
            ("data", "pretrain"),
            ("data", "use_validation_for_training"),
            ("model", "trainable"),
            ("model", "initial_weights"),
        )
    )
    if not images:
        return "there are no images without labels"
    if wanted is None or wanted.value == "never":
        return "`pretrain` is `never`"
    if joined is not None and joined.value:
        return "`use_validation_for_training` leaves no images to judge it by"
    if trainable is not None and trainable.value == "head":
        return "the network stays as it is, and its head alone is trained"
    if wanted.value == "always":
        return ""
    if start is None or start.value != RANDOM:
        return (
            "the network starts from pretrained weights, which know more than these images teach "
            "in minutes; `pretrain: always` tries it"
        )
    if images < _LEAST_MULTIPLE * labelled:
        return (
            f"{images:,} images without labels are few beside {labelled:,} with one; "
            "`pretrain: always` tries it"
        )
    return ""


def pretraining_passes(num_images: int) -> float:
    """Returns the passes over the images of a pretraining where time is no limit.

    Args:
        num_images: With and without labels.
    """
    return max(_FEWEST_PASSES, min(_MOST_PASSES, _PRETRAINED / num_images))


def fewest_passes(recipe: Recipe, info: DatasetInfo) -> float:
    """Returns the passes without which a pretraining does not begin; 0 where the user insists.

    Args:
        recipe: With the section `data`.
        info: Of the dataset.
    """
    if recipe.value("data", "pretrain") == "always":
        return 0.0
    return _LEAST_LENGTH * pretraining_passes(info.splits["train"] + info.splits["unlabeled"])


def pretraining_images(info: DatasetInfo, passes: float, plain_images: float) -> float:
    """Returns the images, with repetition, that a pretraining and what decides on it see.

    Args:
        info: Of the dataset.
        passes: Over the images.
        plain_images: Of a plain training, with repetition.
    """
    images = info.splits["train"] + info.splits["unlabeled"]
    return _ARMS * _VIEWS * passes * images + _TRIALS * plain_images


def affordable_passes(info: DatasetInfo, images: float, plain_images: float) -> float:
    """Returns the passes of a pretraining that sees so many images in all.

    Args:
        info: Of the dataset.
        images: That a training sees in the time, with repetition.
        plain_images: Of a plain training, with repetition.
    """
    one = pretraining_images(info, 1.0, 0.0)
    return max(0.0, images - _TRIALS * plain_images) / one
