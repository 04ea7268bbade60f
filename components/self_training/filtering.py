"""Which images without labels a student is taught by: no copies, and nothing foreign.

Shapes: U images without labels.
"""

import dataclasses

import numpy as np

__all__ = ["Filtered", "filter_images"]

# Of the validation images: at least so many are within the distance that still counts as alike.
# Of up to 20 that is all: so few cannot tell that the most distant one is an outlier.
_ALIKE = 0.95


@dataclasses.dataclass(frozen=True)
class Filtered:
    """What is left and what is not.

    Attributes:
        rows: Images that are left, int [K].
        is_copy: Which are near duplicates of held-out images, bool [U].
        is_foreign: Which of the others are unlike the training images, bool [U].
        limit: Distance above which an image is.
        judges: Validation images that tell it.
        within: Those of them that are not beyond it.
    """

    rows: np.ndarray
    is_copy: np.ndarray
    is_foreign: np.ndarray
    limit: float
    judges: int
    within: int


def filter_images(is_copy: np.ndarray, distances: np.ndarray, alike: np.ndarray) -> Filtered:
    """Returns the images that a student is taught by.

    Args:
        is_copy: As of `held_out_copies`.
        distances: To the nearest training image, float [U].
        alike: Those of the validation images; at least 95 % of them are within the limit.
    """
    limit = float(np.quantile(alike, _ALIKE, method="higher"))
    is_foreign = ~is_copy & (distances > limit)
    rows, within = np.flatnonzero(~is_copy & ~is_foreign), int((alike <= limit).sum())
    return Filtered(rows, is_copy, is_foreign, limit, len(alike), within)
