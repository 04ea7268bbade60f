"""The `augmentation` artifact: what every transform does to the images."""

import dataclasses
from typing import Any

__all__ = ["AugmentationTable"]


@dataclasses.dataclass(frozen=True)
class AugmentationTable:
    """`table.json` of the `augmentation` artifact.

    Beside it, unless skipped: `checkpoint.npz`, a trainer's state; `subset.npy`, the positions of
    the training images of the checkpoint and of the trials; and `examples.npz`: transform -> uint8
    [L, H, W, C], a training image at its levels, and `original` [H, W, C].

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        checkpoint_steps: Steps that the checkpoint was trained for.
        images_seen: By the checkpoint, its evaluation and the measurements.
        null_distance: Distance between halves of the clean images.
        signals: Rows `{"transform", "magnitude", "distance", "affinity", "loss_shift",
            "loss_shift_error"}`.
        kept: Rows `{"transform", "levels", "kept", "reason"}`: the magnitudes of equal distance
            [L], which of them keep the labels [L], and why none does.
        groups: Rows `{"name", "levels"}`; a level is a list of policy operations.
        regularisers: Hyperparameter that the beam may change -> its value in the recipe.
    """

    skipped: str = ""
    checkpoint_steps: int = 0
    images_seen: int = 0
    null_distance: float = 0.0
    signals: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    kept: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    regularisers: dict[str, float] = dataclasses.field(default_factory=dict)
