"""The `search` artifact: the trials, and what they decided."""

import dataclasses
from typing import Any

__all__ = ["ROUNDS", "TrialSummary"]

# Of the search by trials, in their order.
ROUNDS = ("screening", "expansion 1", "expansion 2", "pruning", "confirmation")


@dataclasses.dataclass(frozen=True)
class TrialSummary:
    """`search.json` of the `search` artifact; what was decided is in `recipe.json` beside it.

    Attributes:
        skipped: Why there was no search; empty when there was.
        decision: One sentence.
        accepted: Whether something was changed.
        notes: What limits what the search can tell, one sentence each.
        plan: `{"steps", "batch_size", "peak_rate", "num_settling", "num_held_out", "num_scored",
            "num_confirming", "num_screened", "num_combined", "num_confirmed"}` of the trials.
        techniques: Rows `{"name", "levels"}`, levels in words.
        trials: Rows `{"round" (of `ROUNDS`), "candidate": {"levels": {technique: level}, "without":
            [transform]}, "seed", "losses", "seconds", "error", "out_of_memory", "loss"}`; the
            loss is the held-out loss in nats, null when the trial failed, and the losses are those
            of parts of the held-out images.
        confirmed: The chosen candidate over fresh seeds and images: `{"candidate", "gain", "error",
            "threshold", "noise", "num_pairs"}`, in nats and pairs of trials; empty when nothing
            came that far.
        steps: How it came about, a technique each: `{"name", "level", "gain", "error"}`: what it
            takes off the held-out loss in nats and the standard error of that over parts of the
            held-out images; both are null where the step was not tried by itself.
        lengthening: `{"factor", "measured", "low", "high", "plain_losses", "policy_losses"}`: steps
            with the policy over steps without, and the curves that tell; empty without a policy.
    """

    skipped: str = ""
    decision: str = ""
    accepted: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    techniques: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    confirmed: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lengthening: dict[str, Any] = dataclasses.field(default_factory=dict)
