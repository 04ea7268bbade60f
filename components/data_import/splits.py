"""Splits that the source does not have: stratified, seeded, near duplicates on one side.

N images of one pool; a group is a set of near duplicates, a stratum a class.
"""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["draw_splits", "strata"]


def strata(label_sets: Sequence[tuple[str, ...]], rows: np.ndarray) -> np.ndarray:
    """Returns the stratum of each row, int64 [N]: its rarest class, -1 without a class.

    Stratifying by the rarest label is the first step of iterative stratification (Sechidis et al.,
    2011, algorithm 1): the common labels are everywhere anyway.

    Args:
        label_sets: The distinct label tuples.
        rows: int [N], the label set of each row.
    """
    occurrences = np.bincount(rows, minlength=len(label_sets))
    counts: dict[str, int] = {}
    for names, count in zip(label_sets, occurrences.tolist(), strict=True):
        for name in names:
            counts[name] = counts.get(name, 0) + count
    position = {name: index for index, name in enumerate(sorted(counts))}
    rarest = [
        position[min(names, key=lambda name: (counts[name], name))] if names else -1
        for names in label_sets
    ]
    return np.array(rarest, np.int64)[rows]


def draw_splits(
    stratum: np.ndarray, group: np.ndarray, fractions: Mapping[str, float], seed: int
) -> np.ndarray:
    """Returns the split of each row, an array of names [N]; what is in no fraction is `train`.

    A stratum of at least `len(fractions) + 1` groups gives each split at least one; a smaller one
    stays in train, because a class in test that is not in train cannot be learned.

    Args:
        stratum: int64 [N].
        group: int64 [N]; a group is never divided and belongs to the stratum of its first row.
        fractions: Split -> fraction of the images of each stratum.
        seed: Of the order of the groups.
    """
    _, first_row, group_of_row, sizes = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    group_stratum = stratum[first_row]
    group_split = np.full(len(sizes), "train", dtype="<U10")
    order = np.random.default_rng(seed).permutation(len(sizes))
    # Stable: within a stratum the order stays random.
    order = order[np.argsort(group_stratum[order], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(group_stratum[order])) + 1):
        if len(members) <= len(fractions):
            continue
        total = int(sizes[members].sum())
        wanted = {name: max(1, round(part * total)) for name, part in fractions.items()}
        # Groups larger than a whole split would be most of it: they come last, to fall to train.
        excess = np.maximum(sizes[members] - min(wanted.values()), 0)
        members = members[np.argsort(excess, kind="stable")]
        position, kept_back = 0, len(fractions)
        for name, count in wanted.items():
            nearest = np.abs(np.cumsum(sizes[members[position:]]) - count).argmin()
            end = min(position + int(nearest) + 1, len(members) - kept_back)
            group_split[members[position:end]] = name
            position, kept_back = end, kept_back - 1
    return group_split[group_of_row]
