"""Splits that the source does not have: stratified, seeded, near duplicates on one side.

N images of one pool; a group is a set of near duplicates, a stratum a class.
"""

from collections.abc import Iterator, Mapping, Sequence

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
    return np.take(np.array(rarest, np.int64), rows)


def draw_splits(
    stratum: np.ndarray,
    group: np.ndarray,
    fractions: Mapping[str, float],
    seed: int,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the split of each row, an array of names [N]; what is in no fraction is `train`.

    A stratum gives each split at least one group, and so more than its fraction when it is small:
    one of 3 images would give 2 of them to two splits of 10 %. Strata whose share of all splits
    rounds to fewer images than there are splits give to one split only, the one that has least,
    unless a split would then hold fewer than two strata. A stratum of fewer groups than
    `len(fractions) + 1` stays in train: a class that is not in train cannot be learned.

    The fractions are those of kept and new rows together, also where images come one at a time: new
    rows fill up what the kept ones lack. A group is not split up for it, and none is given where it
    would be further off than nothing.

    Args:
        stratum: int64 [N].
        group: int64 [N]; a group is never divided and belongs to the stratum of its first row.
        fractions: Split -> fraction of the images of each stratum.
        seed: Of the order of the groups.
        kept: The split of each row that has one already, names [N], empty for a new one; the rows
            of a group are all kept or all new. None: all are new.
    """
    kept = np.full(len(group), "", "<U10") if kept is None else kept
    _, first_row, group_of_row, sizes = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    group_stratum, is_new = stratum[first_row], kept[first_row] == ""
    kept_sizes = {
        name: np.bincount(group_of_row[kept == name], minlength=len(sizes))
        for name in (*fractions, "train")
    }
    group_split = np.full(len(sizes), "train", dtype="<U10")
    order = np.random.default_rng(seed).permutation(len(sizes))
    # Stable: within a stratum the order stays random.
    order = order[np.argsort(group_stratum[order], kind="stable")]
    strata_groups = [
        members
        for members in np.split(order, np.flatnonzero(np.diff(group_stratum[order])) + 1)
        if len(members) > len(fractions)
    ]
    share = sum(fractions.values())
    is_small = [round(share * sizes[each].sum()) < len(fractions) for each in strata_groups]
    strata_a_split = is_small.count(False) + is_small.count(True) // len(fractions)
    given = {name: int(kept_sizes[name].sum()) for name in fractions}
    for members, small in zip(strata_groups, is_small, strict=True):
        total = int(sizes[members].sum())
        held = {name: int(counts[members].sum()) for name, counts in kept_sizes.items()}
        wanted = {name: max(1, round(part * total)) for name, part in fractions.items()}
        if small and strata_a_split >= 2:
            least = min(wanted, key=lambda name: (not held[name], given[name] / fractions[name]))
            wanted = {least: wanted[least]}
        lacking = {name: count - held[name] for name, count in wanted.items() if count > held[name]}
        new = members[is_new[members]]
        if not lacking or not len(new):
            continue
        for name, chosen in _choose_groups(new, sizes[new], lacking, held):
            group_split[chosen] = name
            given[name] += int(sizes[chosen].sum())
    drawn: np.ndarray = np.where(kept == "", group_split[group_of_row], kept)
    return drawn


def _choose_groups(
    members: np.ndarray, sizes: np.ndarray, lacking: Mapping[str, int], held: Mapping[str, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each split with the groups of one stratum that come closest to what it lacks."""
    # Groups larger than all that a split lacks come last, to fall to train.
    excess = np.maximum(sizes - min(lacking.values()), 0)
    order = np.argsort(excess, kind="stable")
    members, sizes = members[order], sizes[order]
    # One group for each split that follows, and one for a train that has none.
    position, kept_back = 0, len(lacking) - (held["train"] > 0)
    for name, count in lacking.items():
        distances = np.abs(np.append(0, np.cumsum(sizes[position:])) - count)
        # A split that has nothing of the stratum is given at least one group.
        fewest = 0 if held[name] or position == len(members) else 1
        nearest = fewest + int(distances[fewest:].argmin())
        end = max(position, min(position + nearest, len(members) - kept_back))
        yield name, members[position:end]
        position, kept_back = end, kept_back - 1
