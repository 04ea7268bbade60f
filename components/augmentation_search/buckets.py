"""From the table of signals to groups of transforms that are tried together.

A group has levels; a level is a set of operations of equal distance. What destroys the labels is in
no level. What is no further from the clean images than they are from themselves stays: measured,
the horizontal flip of natural images is such a transform, and the best of all.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kfp_vision.components.augmentation_search.distance import Signals, equal_levels
from kfp_vision.components.shared.augmentation.policy import Operation
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS

__all__ = ["CUSTOMARY", "NUM_LEVELS", "Group", "Kept", "keep_levels", "make_groups"]

NUM_LEVELS = 6
_LEAST_AFFINITY = 0.5
# Levels of a group that are tried: weak and strong.
_TRIED_LEVELS = (2, 5)
# What crops and shifts do: both axes, every image, by at most so much of the greatest magnitude.
_SHIFT, _SHIFT_LEVELS = ("translate_x", "translate_y"), (0.125, 0.25)
# What photographs are customarily trained with.
CUSTOMARY = ("horizontal_flip", *_SHIFT)
_FAMILIES = {
    "geometry": (
        "rotate",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
        "zoom_in",
        "zoom_out",
    ),
    "colour": (
        "brightness",
        "contrast",
        "saturation",
        "hue",
        "posterize",
        "solarize",
        "auto_contrast",
        "equalize",
    ),
    "detail": ("sharpness", "blur", "erase"),
}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is left of one transform.

    Attributes:
        transform: Its name.
        levels: Magnitude at each of the levels of equal distance, [NUM_LEVELS].
        kept: Whether the labels survive that magnitude, [NUM_LEVELS].
        reason: Why no level is kept; empty when some are.
    """

    transform: str
    levels: list[float]
    kept: list[bool]
    reason: str

    def at_most(self, level: int) -> float | None:
        """Returns the magnitude of the strongest kept level up to `level`."""
        pairs = zip(self.levels[: level + 1], self.kept, strict=False)
        return max((magnitude for magnitude, kept in pairs if kept), default=None)


@dataclasses.dataclass(frozen=True)
class Group:
    """Transforms that are decided together.

    Attributes:
        name: Of the group.
        levels: Operations, from weak to strong.
        always: Every image gets all of them; else an image gets one of them or none.
    """

    name: str
    levels: list[list[Operation]]
    always: bool = False


def keep_levels(table: Sequence[Signals]) -> list[Kept]:
    """Returns for each transform the magnitudes of equal distance that keep the labels.

    Levels are equally spaced in the root of the distance, up to the strongest that any transform
    reaches with its labels kept.

    Args:
        table: Every transform at rising magnitudes.
    """
    rows: dict[str, list[Signals]] = {}
    for signals in table:
        rows.setdefault(signals.transform, []).append(signals)
    graded = [row for row in table if not TRANSFORMS[row.transform].chance]
    strongest = max(
        (row.distance for row in graded if row.affinity >= _LEAST_AFFINITY), default=0.0
    )
    targets = strongest * (np.arange(1, NUM_LEVELS + 1) / NUM_LEVELS) ** 2
    kept = []
    for name, held in rows.items():
        limit = min(
            (row.magnitude for row in held if row.affinity < _LEAST_AFFINITY), default=np.inf
        )
        if TRANSFORMS[name].chance:
            # On or off: half of the images have it, at every level alike.
            levels, survives = [0.5] * NUM_LEVELS, [limit == np.inf] * NUM_LEVELS
        else:
            magnitudes = np.array([row.magnitude for row in held])
            distances = np.array([row.distance for row in held])
            levels = equal_levels(magnitudes, distances, targets)
            affinities = [1.0, *(row.affinity for row in held)]
            survives = [
                level < limit
                and float(np.interp(level, [0.0, *magnitudes], affinities)) >= _LEAST_AFFINITY
                for level in levels
            ]
        kept.append(
            Kept(name, levels, survives, "" if any(survives) else "the labels do not survive it")
        )
    return kept


def make_groups(kept: Sequence[Kept]) -> list[Group]:
    """Returns the groups that have an operation.

    They are each on-or-off transform, small shifts of every image, then the families, of which an
    image gets one operation.
    """
    left = {each.transform: each for each in kept if not each.reason}
    groups = [
        Group(name, [[Operation(name, 0.5, 0.5)]], always=True)
        for name in left
        if TRANSFORMS[name].chance
    ]
    limits = [left[name].at_most(NUM_LEVELS) for name in _SHIFT if name in left]
    bound = min((limit for limit in limits if limit is not None), default=0.0)
    shifts = [
        [Operation(name, 0.0, magnitude) for name in _SHIFT]
        for magnitude in _SHIFT_LEVELS
        if len(limits) == len(_SHIFT) and magnitude <= bound
    ]
    if shifts:
        groups.append(Group("shift", shifts, always=True))
    for family, names in _FAMILIES.items():
        levels: list[list[Operation]] = []
        for level in _TRIED_LEVELS:
            operations = [
                Operation(name, 0.0, magnitude)
                for name in names
                if name in left and (magnitude := left[name].at_most(level)) is not None
            ]
            if operations and (not levels or operations != levels[-1]):
                levels.append(operations)
        if levels:
            groups.append(Group(family, levels))
    return groups
