"""What the section on augmentation shows of the transforms and of the policy made from them.

L is the number of levels of a transform.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS
from kfp_vision.components.shared.datasets.thumbnails import thumbnail
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.policies import (
    AUGMENTATION,
    DEFAULT_POLICY,
    policy_setting,
)
from kfp_vision.components.shared.report.figures import number

__all__ = ["baseline_images", "customary_policy", "transform_rows"]


def transform_rows(
    table: AugmentationTable, examples: Mapping[str, np.ndarray], recipe: Recipe
) -> list[dict[str, Any]]:
    """Returns the transforms as pictures, those with a level that keeps the labels first.

    A row is `{"name", "reason", "used", "pictures", "figures"}`, a picture `{"image", "kept",
    "text", "figures"}`; what is on or off has one picture. The figures of a row are those of its
    strongest level that is kept, or of its weakest.

    Args:
        table: What was measured.
        examples: Transform -> a training image at its levels, uint8 [L, H, W, C].
        recipe: Recipe of the trained model; what its policy uses is marked.
    """
    used = {operation["transform"] for operation in _operations(recipe)}
    rows = []
    for held in table.kept:
        name = held.transform
        levels = list(zip(held.levels, held.kept, examples[name], strict=True))
        if TRANSFORMS[name].chance:
            levels = [(1.0, levels[0][1], levels[0][2])]
        pictures: list[dict[str, Any]] = [
            {
                "image": thumbnail(pixels),
                "kept": kept,
                "text": "on" if len(levels) == 1 else f"at {number(magnitude, 2)}",
                "figures": _figures(name, magnitude, table),
            }
            for magnitude, kept, pixels in levels
        ]
        shown = max(sum(picture["kept"] for picture in pictures) - 1, 0)
        rows.append(
            {
                "name": name,
                "reason": held.reason,
                "used": name in used,
                "pictures": pictures,
                "figures": pictures[shown]["figures"],
            }
        )
    return sorted(rows, key=lambda row: bool(row["reason"]))


def _figures(transform: str, magnitude: float, table: AugmentationTable) -> str:
    """Returns the signals at a magnitude, between those that were measured."""
    signals = [row for row in table.signals if row.transform == transform]
    at = [0.0, *(row.magnitude for row in signals)]
    distance = float(np.interp(magnitude, at, [0.0, *(row.distance for row in signals)]))
    affinity = float(np.interp(magnitude, at, [1.0, *(row.affinity for row in signals)]))
    return f"distance {number(distance, 2)}, affinity {number(affinity, 2)}"


def baseline_images(recipe: Recipe) -> int | None:
    """Returns how many images a baseline training sees; None where the recipe does not say."""
    held = [recipe.get("training", name) for name in ("steps", "batch_size")]
    return None if None in held else int(np.prod([each.value for each in held if each]))


def customary_policy(recipe: Recipe) -> str:
    """Returns what a training uses that no search has found, and why; empty where it does not."""
    held = recipe.get(AUGMENTATION, DEFAULT_POLICY)
    return held.method if held is not None and policy_setting(recipe) is held else ""


def _policy(recipe: Recipe) -> Mapping[str, Any] | None:
    setting = policy_setting(recipe)
    return None if setting is None else setting.value


def _operations(recipe: Recipe) -> Iterable[Mapping[str, Any]]:
    if (policy := _policy(recipe)) is not None:
        yield from policy["always"]
        for branch in policy["branches"]:
            yield from branch["operations"]
