"""Which images without labels a student is taught by: no copies, and nothing foreign.

Shapes: U images without labels.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

__all__ = ["Filtered", "filter_images", "held_out_copies"]

# Of the validation images: so many are within the distance that still counts as alike.
_ALIKE = 0.95


@dataclasses.dataclass(frozen=True)
class Filtered:
    """What is left and what is not.

    Attributes:
        rows: Images that are left, int [K].
        is_copy: Which are near duplicates of held-out images, bool [U].
        is_foreign: Which of the others are unlike the training images, bool [U].
        limit: Distance above which an image is.
    """

    rows: np.ndarray
    is_copy: np.ndarray
    is_foreign: np.ndarray
    limit: float


def held_out_copies(
    groups: np.ndarray, splits: Mapping[str, int], judging: np.ndarray
) -> np.ndarray:
    """Returns which images without labels are near duplicates of held-out images.

    A model that has learned them would be judged by what it knows.

    Args:
        groups: Near duplicates share a number, int [N], over the splits in order.
        splits: Split -> number of images, in that order; without labels are those of `unlabeled`.
        judging: Which of the training images judge as validation images do, int.

    Returns:
        bool [U].
    """
    names = np.repeat(list(splits), list(splits.values()))
    held_out = np.isin(names, ("validation", "test"))
    held_out[np.flatnonzero(names == "train")[judging]] = True
    copies: np.ndarray = np.isin(groups[names == "unlabeled"], groups[held_out])
    return copies


def filter_images(is_copy: np.ndarray, distances: np.ndarray, alike: np.ndarray) -> Filtered:
    """Returns the images that a student is taught by.

    Args:
        is_copy: As of `held_out_copies`.
        distances: To the nearest training image, float [U].
        alike: Those of the validation images; 95 % of them are within the limit.
    """
    limit = float(np.quantile(alike, _ALIKE, method="higher"))
    is_foreign = ~is_copy & (distances > limit)
    return Filtered(np.flatnonzero(~is_copy & ~is_foreign), is_copy, is_foreign, limit)
