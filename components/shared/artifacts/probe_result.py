"""The `probe` artifact: what was measured to choose batch size, learning rate and length."""

import dataclasses

__all__ = ["NoiseScale", "ProbeResult", "RangeTest", "StepSpeed"]


@dataclasses.dataclass(frozen=True)
class StepSpeed:
    """Speed and memory of the training step at one batch size.

    Attributes:
        batch_size: B, over all replicas.
        images_per_second: Of the compiled loop once it is warm; the faster of two measurements.
        memory_mib: At most so much did the steps add to the process on a CPU; on GPUs the peak of
            the fullest one.
        steps_per_call: Steps in one call of the loop.
        jit_compile: Whether XLA compiled the step.
        relative_time: Time to the same loss over that of the fastest size; None where it was not
            compared or leaves too little memory free.
        scatter: Logarithm of the faster over the slower of two measurements, seconds apart; None
            where there was one.
    """

    batch_size: int
    images_per_second: float
    memory_mib: float
    steps_per_call: int
    jit_compile: bool
    relative_time: float | None = None
    scatter: float | None = None


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    """B_simple = tr(Sigma) / |G|^2 in examples, with what it was estimated from.

    Attributes:
        value: None when |G|^2 is not told apart from zero; `low` is then all that is known.
        low, high: 95 % interval; `high` is None when there is no upper bound.
        trace, trace_error: Estimate of tr(Sigma) and its standard error.
        sq_norm, sq_norm_error: Estimate of |G|^2 and its standard error.
        raw, scaled: Estimate at each step, of the raw and the optimizer-preconditioned gradients;
            None where it is not determined.
    """

    value: float | None
    low: float
    high: float | None
    trace: float
    trace_error: float
    sq_norm: float
    sq_norm_error: float
    raw: list[float | None] = dataclasses.field(default_factory=list)
    scaled: list[float | None] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """A range test and what was read from it.

    Attributes:
        plateau_rate: Lowest rate at which the loss is, within its noise, as low as anywhere; the
            trials begin with it. Networks with batch normalisation may stay there for decades of
            rates: this end of the plateau is the one that can be told.
        divergence_rate: Where the loss has climbed back half of what it had fallen; None if it
            never did.
        rates, losses: Of each step; a loss that is not finite is None.
    """

    plateau_rate: float
    divergence_rate: float | None
    rates: list[float] = dataclasses.field(default_factory=list)
    losses: list[float | None] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """`probe.json` of the `probe` artifact; what it decided is in `recipe.json` beside it.

    `ProbeResult()` with a reason in `skipped` is that of a probe that measured nothing.

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        notes: What of the recipe does not fit this training, what fell back to a default or could
            not be told, one sentence each.
        reference_batch: B_ref of the trials.
        throughput: One row per batch size, rising.
        variants: Of the reference batch: other numbers of steps per call, and XLA.
        noise_scale: None when nothing was measured, as `range_test`.
        range_test: Of the learning rate.
        trials: Rate (as text) -> smoothed losses of its constant-rate trial.
        images_seen: In steps that learned, the throughput measurement not counted.
        seconds: Of the whole stage.
        plain_seconds: Of a plain training on this machine, estimated from the throughput.
    """

    skipped: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    reference_batch: int = 0
    throughput: list[StepSpeed] = dataclasses.field(default_factory=list)
    variants: list[StepSpeed] = dataclasses.field(default_factory=list)
    noise_scale: NoiseScale | None = None
    range_test: RangeTest | None = None
    trials: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    images_seen: int = 0
    seconds: float = 0.0
    plain_seconds: float = 0.0
