"""From the table of signals to groups of transforms that are tried together.

A group has levels; a level is a set of transforms at magnitudes of equal distance, without those
that destroy the labels. A small distance is no reason to leave a transform out: the horizontal
flip of natural images hardly moves them, and helps most.
"""

from collections.abc import Sequence

import numpy as np

from kfp_vision.components.augmentation_search.distance import equal_levels
from kfp_vision.components.shared.artifacts.augmentation_table import Group, Kept, Signals
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS

__all__ = ["NUM_LEVELS", "keep_levels", "make_groups"]

NUM_LEVELS = 6
_LEAST_AFFINITY = 0.5
# Levels of a group that are tried: weak and strong.
_TRIED_LEVELS = (2, 5)
# What crops and shifts do: both axes, every image, by at most so much of the greatest magnitude.
_SHIFT, _SHIFT_LEVELS = ("translate_x", "translate_y"), (0.125, 0.25)
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
    groups = [Group(name, [{name: 0.5}], always=True) for name in left if TRANSFORMS[name].chance]
    limits = [left[name].at_most(NUM_LEVELS) for name in _SHIFT if name in left]
    bound = min((limit for limit in limits if limit is not None), default=0.0)
    shifts = [
        dict.fromkeys(_SHIFT, magnitude)
        for magnitude in _SHIFT_LEVELS
        if len(limits) == len(_SHIFT) and magnitude <= bound
    ]
    if shifts:
        groups.append(Group("shift", shifts, always=True))
    for family, names in _FAMILIES.items():
        levels: list[dict[str, float]] = []
        for level in _TRIED_LEVELS:
            magnitudes = {
                name: magnitude
                for name in names
                if name in left and (magnitude := left[name].at_most(level)) is not None
            }
            if magnitudes and magnitudes not in levels:
                levels.append(magnitudes)
        if levels:
            groups.append(Group(family, levels))
    return groups
