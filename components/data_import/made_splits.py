"""The splits that a source lacks, taken from its training images."""

from collections import Counter

import numpy as np

from kfp_vision.components.data_import.splits import draw_splits, strata
from kfp_vision.components.data_import.staging import Staged
from kfp_vision.components.shared.datasets.near_duplicates import smallest_rows

__all__ = ["complete_splits"]

# Of the training images of each class, for each split that the source does not have.
_FRACTION = 0.1


def complete_splits(staged: Staged, near: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Returns the split of each row, names [N], and a sentence on those made; empty without any.

    Args:
        staged: What is known of the images.
        near: Group of near duplicates of each row, int [N].
        seed: Of the splits that are made.

    Raises:
        ValueError: There are no training images, or too few to take a split from them.
    """
    splits = np.array([split or "train" for split in staged.splits], "<U10")
    given = set(filter(None, staged.splits))
    pool = np.flatnonzero(splits == "train")
    if not len(pool):
        raise ValueError(
            f"There must be training images. Received: only the splits {sorted(given)}"
        )
    missing = {name: _FRACTION for name in ("test", "validation") if name not in given}
    if missing:
        labels = np.frombuffer(staged.labels, np.int32)[pool]
        stratum = strata(list(staged.label_sets), labels)
        # Flat images have no near duplicates, but exact copies of them must not be parted either.
        digests = np.frombuffer(staged.digests, "V32")[pool]
        _, first, copy = np.unique(digests, return_index=True, return_inverse=True)
        groups = smallest_rows(near[pool])[first[copy]]
        drawn = draw_splits(stratum, groups, missing, seed)
        short = sorted(set(missing) - set(drawn))
        if short:
            reasons = Counter(row.code for row in staged.rejections)
            raise ValueError(
                f"To make the splits {sorted(missing)} a class needs at least {len(missing) + 1} "
                f"images that are not near duplicates. Received: {len(pool)} images, none left for "
                f"{short}; left out: {dict(reasons)}. Add images or give the splits."
            )
        splits[pool] = drawn
        return splits, _describe_made(staged, splits, pool, sorted(missing), seed)
    return splits, ""


def _describe_made(
    staged: Staged, splits: np.ndarray, pool: np.ndarray, made: list[str], seed: int
) -> str:
    """Returns a sentence with the real sizes of the splits that were made from the rows `pool`."""
    labels, names = np.frombuffer(staged.labels, np.int32), list(staged.label_sets)

    def count_classes(rows: np.ndarray) -> int:
        return len({name for index in np.unique(labels[rows]) for name in names[index]})

    parts = []
    for name in made:
        rows = np.flatnonzero(splits == name)
        share = len(rows) / len(pool)
        parts.append(f"{name} {len(rows)} images ({share:.1%}) of {count_classes(rows)} classes")
    return (
        f"Made here: {', '.join(parts)}, from {len(pool)} training images of "
        f"{count_classes(pool)} classes; stratified, seed {seed}, near duplicates kept in one "
        "split."
    )
