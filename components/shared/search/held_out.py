"""Which held-out images choose between candidates of a search, and which confirm the choice.

They are those of the validation split and training images that no checkpoint and no trial learns.
"""

import dataclasses

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.store import class_strata

__all__ = ["HeldOut", "Rows", "divide_held_out", "halves", "stratified_order"]

# Rising rows of the validation and of the training images.
Rows = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Two parts without a common image.

    Attributes:
        validation, train: Rows that may be looked at to choose, each in an order of which every
            beginning holds the classes in their shares.
        confirming: Rows that only the last round looks at.
    """

    validation: np.ndarray
    train: np.ndarray
    confirming: Rows

    def selecting(self, count: int) -> Rows:
        """Returns so many rows to choose by, or all there are; those of validation come first."""
        validation = self.validation[:count]
        return np.sort(validation), np.sort(self.train[: count - len(validation)])


def divide_held_out(
    validation: LabelledImages,
    train: LabelledImages,
    known: np.ndarray,
    num_selecting: int,
    num_confirming: int,
) -> HeldOut:
    """Returns the two parts; both have the validation images in the same share.

    Args:
        validation: The split.
        train: The split.
        known: Rows of `train` that the checkpoint and the trials learn.
        num_selecting: Images that the trials are scored by, before the last round.
        num_confirming: Images of the last round; the two are at most as many as are held out.
    """
    order = stratified_order(class_strata(validation.source.table))
    unseen = np.setdiff1d(np.arange(len(train)), known)
    others = unseen[stratified_order(class_strata(train.source.table)[unseen])]
    wanted = num_selecting + num_confirming
    share = min(len(order), wanted) / wanted if wanted else 0.0
    last = min(round(share * num_confirming), num_confirming)
    ends = len(order) - last, len(others) - (num_confirming - last)
    return HeldOut(
        validation=order[: ends[0]],
        train=others[: ends[1]],
        confirming=(np.sort(order[ends[0] :]), np.sort(others[ends[1] :])),
    )


def halves(strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two halves of the rows of N images, each with half of every stratum.

    Args:
        strata: As of `stratified_order`, of which every other row would be those of some strata.
    """
    order = stratified_order(strata)
    middle = (len(order) + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def stratified_order(strata: np.ndarray) -> np.ndarray:
    """Returns an order of N rows of which every beginning and every end is stratified.

    Each stratum is spread over it evenly, in a random order that is always the same.

    Args:
        strata: [N], alike for the rows of a stratum.
    """
    generator = np.random.default_rng(0)
    shuffled = generator.permutation(len(strata))
    _, stratum, sizes = np.unique(strata[shuffled], return_inverse=True, return_counts=True)
    grouped = np.argsort(stratum, kind="stable")
    places = np.empty(len(strata))
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    offsets = np.repeat(generator.random(len(sizes)), sizes)
    places[grouped] = (np.arange(len(strata)) - starts + offsets) / np.repeat(sizes, sizes)
    return shuffled[np.argsort(places, kind="stable")]
