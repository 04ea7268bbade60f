"""Rules about images that are there more than once."""

import numpy as np

from kfp_vision.components.data_profiling.duplicates import (
    conflicting_rows,
    copies,
    leaked_rows,
    partners,
    within,
)
from kfp_vision.components.data_profiling.measurements import EXAMPLES, Measurements, Observation

__all__ = [
    "conflicting_labels",
    "duplicates_exact",
    "duplicates_near",
    "identical_images",
    "leakage_exact",
    "leakage_near",
]

# The share of a held-out split above which leakage stops the pipeline: its figures would be wrong
# by up to as much.
_MAX_LEAKED = 0.01
# Of the labelled images: of two twins with different labels one is wrong at least.
_MAX_CONFLICTING = 0.1


def leakage_exact(measured: Measurements) -> Observation | None:
    """Held-out images whose pixels are in an earlier split."""
    leaked = _leaked(measured, measured.exact)
    rows = np.concatenate([leaked["test"], leaked["validation"]])
    if not len(rows):
        return None
    shares = {
        name: len(found) / (measured.split == name).sum()
        for name, found in leaked.items()
        if len(found)
    }
    parts = ", ".join(f"{len(leaked[name])} of {name} ({s:.1%})" for name, s in shares.items())
    return Observation(
        "fail" if max(shares.values()) > _MAX_LEAKED else "warn",
        "An image that measures must not be one that trains: the same pixels are in an earlier "
        f"split, {parts}. Remove them from one side.",
        len(rows),
        _pairs(measured, measured.exact, rows),
    )


def leakage_near(measured: Measurements) -> Observation | None:
    """Held-out images that are near, but not exact, duplicates of an earlier split."""
    exact = _leaked(measured, measured.exact)
    near = _leaked(measured, measured.near)
    leaked = {name: np.setdiff1d(near[name], exact[name]) for name in near}
    rows = np.concatenate([leaked["test"], leaked["validation"]])
    if not len(rows):
        return None
    return Observation(
        "warn",
        "Near duplicates (re-encoded, resized, the next frame) of training images make the test "
        f"easier than the world: {len(leaked['test'])} of test, {len(leaked['validation'])} of "
        "validation. Split by scene, patient or recording instead.",
        len(rows),
        _pairs(measured, measured.near, rows),
    )


def duplicates_exact(measured: Measurements) -> Observation | None:
    """Training images with the pixels of another training image."""
    groups = within(measured.exact, measured.split == "train")
    rows = copies(groups)
    if not len(rows):
        return None
    return Observation(
        "warn",
        f"Copies within train, pixel for pixel: {len(rows)}. An image and its copies count as one "
        "with a larger weight.",
        len(rows),
        np.stack([groups[rows], rows], axis=1)[: EXAMPLES // 2].ravel(),
    )


def duplicates_near(measured: Measurements) -> Observation | None:
    """Training images that are near, but not exact, duplicates of another training image."""
    groups = within(measured.near, measured.split == "train")
    rows = copies(groups)
    rows = rows[measured.exact[rows] != measured.exact[groups[rows]]]
    if not len(rows):
        return None
    return Observation(
        "warn",
        f"Near duplicates within train: {len(rows)}. The set is smaller than it looks.",
        len(rows),
        np.stack([groups[rows], rows], axis=1)[: EXAMPLES // 2].ravel(),
    )


def conflicting_labels(measured: Measurements) -> Observation | None:
    """Images with equal pixels and different labels, in any labelled splits."""
    labelled = measured.split != "unlabeled"
    groups = within(measured.exact, labelled)
    rows = conflicting_rows(groups, measured.keys)
    if not len(rows):
        return None
    share = len(rows) / labelled.sum()
    return Observation(
        "fail" if share > _MAX_CONFLICTING else "warn",
        f"Equal pixels must have equal labels. Images with a twin of another label: {len(rows)} "
        f"({share:.1%} of the labelled ones; above {_MAX_CONFLICTING:.0%} training stops). At most "
        "one of each pair is right: correct or remove the others.",
        len(rows),
        rows[:EXAMPLES],
    )


def identical_images(measured: Measurements) -> Observation | None:
    """A training set that is one image."""
    groups = measured.exact[measured.split == "train"]
    if (groups != groups[0]).any():
        return None
    held = f"All {len(groups)} have the same pixels. Check how they were written or decoded."
    if len(groups) == 1:
        held = "There is only one, the others are in the other splits. Add images."
    return Observation(
        "fail",
        f"The training images must differ, else there is nothing to learn. {held}",
        len(groups),
        np.flatnonzero(measured.split == "train")[:EXAMPLES],
        acceptable=False,
    )


def _leaked(measured: Measurements, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Returns held-out split -> those of its rows whose group is in an earlier split too."""
    seen = measured.split == "train"
    leaked = {}
    for name in ("validation", "test"):
        held_out = measured.split == name
        leaked[name] = leaked_rows(groups, seen, held_out)
        seen = seen | held_out
    return leaked


def _pairs(measured: Measurements, groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns examples: a row, then its copy in another labelled split."""
    elsewhere = measured.split != "unlabeled"
    pairs = [
        (row, partners(groups, row, elsewhere & (measured.split != measured.split[row]))[0])
        for row in rows[: EXAMPLES // 2]
    ]
    return np.array(pairs, np.int64).ravel()
