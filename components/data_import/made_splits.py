"""The splits that a source lacks, taken from its training images."""

from collections import Counter
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from kfp_vision.components.data_import.splits import draw_splits, strata
from kfp_vision.components.data_import.staging import Staged
from kfp_vision.components.data_import.wording import count_codes
from kfp_vision.components.shared.champions.known_images import GRAVEST_FIRST, KnownImages
from kfp_vision.components.shared.datasets.near_duplicates import smallest_rows

__all__ = ["complete_splits", "keep_splits"]

# Of the training images of each class, known and new ones together, for each split that the source
# does not have.
_FRACTION = 0.1


def complete_splits(
    staged: Staged, near: np.ndarray, seed: int, known: KnownImages
) -> tuple[np.ndarray, list[str]]:
    """Returns the split of each row, names [N], and sentences on those made.

    Args:
        staged: What is known of the images.
        near: Group of each row, of near duplicates and exact copies, int [N].
        seed: Of the splits that are made.
        known: Images that keep the split which they had; their near duplicates join them.

    Raises:
        ValueError: There are no training images, or too few to take a split from them.
    """
    splits = np.array([split or "train" for split in staged.splits], "<U10")
    given = set(filter(None, staged.splits))
    pool = np.flatnonzero(splits == "train")
    if not len(pool):
        raise ValueError(
            f"There must be training images. Received: only {' and '.join(sorted(given))}. Give "
            "some as train."
        )
    missing = {name: _FRACTION for name in ("test", "validation") if name not in given}
    if not missing:
        return splits, []
    labels = np.frombuffer(staged.labels, np.int32)[pool]
    stratum = strata(list(staged.label_sets), labels)
    groups = smallest_rows(near[pool])
    sources = np.frombuffer(staged.source_digests, "V32")[pool]
    before = known.splits_of(pa.array(sources.tolist(), pa.binary(32)))
    kept = keep_splits(before, groups, {*missing, "train"})
    drawn = draw_splits(stratum, groups, missing, seed, kept)
    short = sorted(set(missing) - set(drawn))
    if short:
        reasons = count_codes(row.code for row in staged.rejections)
        left_out = f"; left out: {reasons}" if reasons else ""
        raise ValueError(
            f"To make {' and '.join(sorted(missing))} a class needs at least {len(missing) + 1} "
            f"images that are not near duplicates. Received: {len(pool)} images, none left for "
            f"{' and '.join(short)}{left_out}. Add images or give the splits."
        )
    splits[pool] = drawn
    notes = [_describe_made(staged, splits, pool, sorted(missing), seed)]
    if num_kept := np.count_nonzero(kept):
        joined = num_kept - np.count_nonzero(before)
        counts = Counter(kept[kept != ""].tolist())
        parts = ", ".join(f"{name} {counts[name]}" for name in GRAVEST_FIRST if counts[name])
        notes.append(
            f"Kept in the split that they had for the champion: {num_kept} images ({parts}), "
            f"{joined} of them new near duplicates of such; {len(pool) - num_kept} images are new."
        )
    return splits, notes


def keep_splits(before: np.ndarray, groups: np.ndarray, allowed: Collection[str]) -> np.ndarray:
    """Returns the split that each row keeps, names [N]; empty where it is new.

    A new row of a group joins the known ones: those in test, if there is one, else those in
    validation. So no new image that is learned looks like one of the frozen test set.

    Args:
        before: The split that each row had, names [N]; empty where it is not known.
        groups: Of near duplicates, int [N].
        allowed: Splits that are made here; a row that had another one is in train.
    """
    allowed = [*allowed]
    kept = np.where((before != "") & ~np.isin(before, allowed), "train", before)
    rank_of = {name: rank for rank, name in enumerate(("", *GRAVEST_FIRST))}
    ranks = np.array([rank_of[name] for name in kept.tolist()])
    _, member = np.unique(groups, return_inverse=True)
    highest = np.zeros(member.max() + 1, int)
    np.maximum.at(highest, member, ranks)
    joined = np.array([*rank_of], "<U10")[highest[member]]
    return np.where(kept == "", joined, kept)


def _describe_made(
    staged: Staged, splits: np.ndarray, pool: np.ndarray, made: list[str], seed: int
) -> str:
    """Returns a sentence with the real sizes of the splits that were made from the rows `pool`."""
    labels, names = np.frombuffer(staged.labels, np.int32), list(staged.label_sets)

    def count_classes(rows: np.ndarray) -> str:
        count = len({name for index in np.unique(labels[rows]) for name in names[index]})
        return f"{count} class{'es' * (count != 1)}"

    parts = []
    for name in made:
        rows = np.flatnonzero(splits == name)
        share = len(rows) / len(pool)
        parts.append(f"{name} {len(rows)} images ({share:.1%}) of {count_classes(rows)}")
    return (
        f"Made here: {', '.join(parts)}, from {len(pool)} training images of "
        f"{count_classes(pool)}; stratified, seed {seed}, near duplicates kept in one "
        "split."
    )
