"""Images that are there more than once: exact copies, leakage between splits, conflicting labels.

N images; `groups` is int64 [N], the smallest row of the group of each image (its own when alone).
"""

import numpy as np

__all__ = [
    "conflicting_rows",
    "copies",
    "exact_groups",
    "label_keys",
    "leaked_rows",
    "partners",
    "within",
]


def exact_groups(digests: np.ndarray) -> np.ndarray:
    """Returns the groups of equal digests, uint8 [N, D]."""
    rows = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def copies(groups: np.ndarray) -> np.ndarray:
    """Returns the rows that are not the first of their group: what is left out loses nothing."""
    return np.flatnonzero(groups != np.arange(len(groups)))


def leaked_rows(groups: np.ndarray, seen: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Returns the held-out rows whose group has a seen row.

    Args:
        groups: int64 [N].
        seen: bool [N], the images that training (or model selection) looks at.
        held_out: bool [N], the images that measure.
    """
    has_seen = np.zeros(len(groups), bool)
    has_seen[groups[seen]] = True
    return np.flatnonzero(held_out & has_seen[groups])


def partners(groups: np.ndarray, row: int, among: np.ndarray) -> np.ndarray:
    """Returns the other rows of the group of `row` that are `among` (bool [N])."""
    others = among & (np.arange(len(groups)) != row)
    return np.flatnonzero((groups == groups[row]) & others)


def within(groups: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Returns the groups [N] that remain when only `members` (bool [N]) can share one."""
    rows = np.flatnonzero(members)
    _, first, group = np.unique(groups[rows], return_index=True, return_inverse=True)
    result = np.arange(len(groups))
    result[rows] = rows[first][group]
    return result


def label_keys(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns uint64 [N], equal for images with the same set of labels whatever the order.

    Args:
        values: int [L], the labels of all images one after the other.
        starts: int [N + 1], image n has `values[starts[n]:starts[n + 1]]`.
    """
    largest = int(values.max(initial=0))
    words = np.random.default_rng(0).integers(2**63, size=largest + 1, dtype=np.uint64)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words[values], dtype=np.uint64)])
    sums: np.ndarray = total[starts[1:]] - total[starts[:-1]]
    return sums


def conflicting_rows(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Returns the rows of the groups that hold more than one label set, group by group.

    Args:
        groups: int64 [N].
        keys: uint64 [N], the label set of each image.
    """
    in_conflict = np.zeros(len(groups), bool)
    in_conflict[groups[keys != keys[groups]]] = True
    rows = np.flatnonzero(in_conflict[groups])
    return rows[np.argsort(groups[rows], kind="stable")]
