"""The `probe` artifact: what was measured to choose batch size, learning rate and length."""

import dataclasses
from typing import Any

__all__ = ["ProbeSummary"]


@dataclasses.dataclass(frozen=True)
class ProbeSummary:
    """`probe.json` of the `probe` artifact; what it decided is in `recipe.json` beside it.

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        notes: What of the recipe does not fit this training, what fell back to a default or could
            not be told, one sentence each.
        reference_batch: B_ref of the trials.
        throughput: Rows `{"batch_size", "images_per_second", "memory_mib", "relative_time"}`.
        variants: Rows `{"batch_size", "images_per_second", "steps_per_call", "jit_compile"}`.
        noise_scale: `{"value", "low", "high", "raw", "scaled", ...}`; `raw` and `scaled` hold one
            value a step, of the raw and the optimizer-preconditioned gradients, null where it is
            not determined.
        range_test: `{"rates", "losses", "plateau_rate", "divergence_rate"}`.
        trials: Rate (as text) -> smoothed losses of its constant-rate trial.
        images_seen: In steps that learned, the throughput measurement not counted.
        seconds: Of the whole stage.
        plain_seconds: Of a plain training on this machine, estimated from the throughput.
    """

    skipped: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    reference_batch: int = 0
    throughput: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    variants: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    noise_scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    range_test: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    images_seen: int = 0
    seconds: float = 0.0
    plain_seconds: float = 0.0
