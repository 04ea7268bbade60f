"""What the stages that follow are estimated to take: `plan` of a stage's summary."""

import dataclasses

__all__ = ["PLAN", "RunPlan"]

PLAN = "plan"


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """An estimate; a later stage replaces it when it knows more.

    Attributes:
        minutes: Limit of the run.
        spent_s: Seconds of the run, when the estimate was made.
        image_s: Seconds of one image of the training, its share of the evaluations included.
        start_up_s: Seconds in which a task that trains starts.
        stages: Stage, as in its cost -> seconds, in their order. Those that do not fit are left
            out.
        advice: What gives way and what to do, where that is more than the limit; else empty.
    """

    minutes: float
    spent_s: float
    image_s: float
    start_up_s: float
    stages: dict[str, float]
    advice: str = ""

    def sentence(self) -> str:
        """Returns it in words, in minutes."""
        parts = [f"{name.replace('_', '-')} {s / 60:.1f}" for name, s in self.stages.items()]
        total = (self.spent_s + sum(self.stages.values())) / 60
        advice = f". {self.advice}" if self.advice else ""
        return (
            f"estimate in minutes: {', '.join(parts)}; with the {self.spent_s / 60:.1f} so far "
            f"{total:.1f} in all, of a budget of {self.minutes:g}{advice}"
        )
