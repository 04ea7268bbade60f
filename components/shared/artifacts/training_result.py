"""The `model` artifact: the trained model and how its training went."""

import dataclasses
from typing import Any

__all__ = ["JUDGED_FILE", "MODEL_FILE", "START_FILE", "TrainingResult"]

MODEL_FILE, JUDGED_FILE = "model.keras", "judged.keras"
# Weights that a pretraining has found, beside the recipe that names them.
START_FILE = "start.npz"


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """`training.json` of the `model` artifact.

    Beside it: `model.keras` (uint8-range float pixels in, logits out), `curves.parquet` (`step`,
    `split`, `metric`, `value`), `tensorboard/`; where `model.keras` has learned the validation
    images, too, `judged.keras`: the model of the training that they judged.

    Attributes:
        architecture: Zoo name or URI.
        trainable: `all`, or `head` where the network is frozen.
        parameters: Number of weights.
        image_size: `[height, width]` the model takes.
        precision: `float32` or `mixed_bfloat16`, of the layers in training; those of `model.keras`
            compute in float32.
        seed: Of the weights, the order of the images and dropout.
        steps, best_step: Steps done; the step of the checkpoint that was kept.
        validation: Metric -> value of that checkpoint.
        seconds, images_seen, images_per_second: Of the training loop alone.
        plain_seconds: Of one plain training: the set-up and the evaluations of this one, and of its
            steps the share that a training without the policy and what it lengthens would take.
        waiting_share: Share of the time of the steps that waited for images, in [0, 1].
        checks: Sanity check -> what it measured.
        warnings: Sentences for the report.
        planned_steps: Those of the recipe; more than `steps` where the time was too short.
        refit_images, refit_steps: Of the second training, which all other figures leave out; 0
            images where there was none, 0 steps where it fitted a head.
    """

    architecture: str
    trainable: str
    parameters: int
    image_size: list[int]
    precision: str
    seed: int
    steps: int
    best_step: int
    validation: dict[str, float]
    seconds: float
    plain_seconds: float
    images_seen: int
    images_per_second: float
    waiting_share: float
    checks: dict[str, float]
    warnings: list[str]
    planned_steps: int
    refit_images: int = 0
    refit_steps: int = 0

    @property
    def summary(self) -> dict[str, Any]:
        """`model` of `report.json`."""
        return {
            "architecture": self.architecture,
            "parameters": self.parameters,
            "image_size": self.image_size,
            "seed": self.seed,
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "plain_training_s": self.plain_seconds,
        }
