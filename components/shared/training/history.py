"""What a training has done so far: its settings, curves, kept checkpoints and repairs."""

import dataclasses
from typing import Any, TypedDict

from kfp_vision.components.shared.recipe.evaluations import EVALUATIONS
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters

__all__ = ["CurveRow", "History", "KeptCheckpoint", "next_evaluation"]


class CurveRow(TypedDict):
    """A point of a training curve."""

    step: int
    split: str
    metric: str
    value: float


class KeptCheckpoint(TypedDict):
    """An evaluation whose weights are kept in `file`, a name in the checkpoint folder."""

    step: int
    metrics: dict[str, float]
    file: str


def next_evaluation(step: int, total_steps: int, num_evaluations: int) -> int:
    """Returns the step of the first evaluation after `step`.

    Args:
        step: Steps done.
        total_steps: Of the training.
        num_evaluations: There are about so many, at most one after each step.
    """
    interval = max(1, total_steps // num_evaluations)
    return min((step // interval + 1) * interval, total_steps)


@dataclasses.dataclass
class History:
    """The progress of a training; part of its checkpoint.

    Attributes:
        settings: Current hyperparameters; a repair changes them.
        total_steps: Steps until the end.
        checks: Results of the sanity checks.
        step: Steps done.
        seconds: Wall-clock time of the loop.
        step_seconds: Part of `seconds` spent in optimizer steps.
        wait_seconds: Part of `step_seconds` in which there were no images to go on with.
        num_evaluations: About so many there are, at most one after each step.
        curves: Training and validation curves.
        best: Kept evaluations, best first.
        repairs: Sentences, each a cause and the change that was made.
        num_passed_over: Evaluations whose loss was not finite.
        setup_seconds: Time before the first step.
        plain_share: Share of `step_seconds` that a plain training would take.
        stage_seconds: Time of all processes of the stage up to the last checkpoint.
        ends: When it has to be over, in seconds of the stage; None where time is no limit.
        usual_loss: Exponential mean of the losses of the steps; None before the first.
        planned_steps: What `total_steps` is where time is no limit; that of the start where it is
            not given.
    """

    settings: Hyperparameters
    total_steps: int
    checks: dict[str, float]
    step: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    wait_seconds: float = 0.0
    num_evaluations: int = EVALUATIONS
    curves: list[CurveRow] = dataclasses.field(default_factory=list)
    best: list[KeptCheckpoint] = dataclasses.field(default_factory=list)
    repairs: list[str] = dataclasses.field(default_factory=list)
    num_passed_over: int = 0
    setup_seconds: float = 0.0
    plain_share: float = 1.0
    stage_seconds: float = 0.0
    ends: float | None = None
    usual_loss: float | None = None
    planned_steps: int = 0

    def __post_init__(self) -> None:
        self.planned_steps = self.planned_steps or self.total_steps

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "History":
        """Returns the history whose `dataclasses.asdict` is `document`."""
        return cls(**{**document, "settings": Hyperparameters(**document["settings"])})

    @property
    def warmup_steps(self) -> int:
        """Steps in which the rate rises: of a training that was cut, half of its steps at most."""
        return min(self.settings.warmup_steps, self.total_steps // 2)

    def next_evaluation(self) -> int:
        """Returns the step of the next evaluation; that of the end where all steps are done."""
        return next_evaluation(self.step, self.total_steps, self.num_evaluations)

    def double_steps(self) -> None:
        """Converts all step counts to steps of half the batch size.

        Kept checkpoints keep their file names, which no later evaluation can be given.
        """
        self.step, self.total_steps = 2 * self.step, 2 * self.total_steps
        self.planned_steps *= 2
        for row in self.curves:
            row["step"] *= 2
        for kept in self.best:
            kept["step"] *= 2
