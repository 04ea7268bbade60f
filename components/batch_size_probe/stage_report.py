"""What the probe tells the report: the section on batch size and learning rate.

T is the number of steps of the trial that the noise scale was measured in.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.probe_result import (
    NoiseScale,
    ProbeResult,
    RangeTest,
    StepSpeed,
)
from kfp_vision.components.shared.artifacts.run_plan import PLAN, RunPlan
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.report.charts import Chart, Line, line_chart
from kfp_vision.components.shared.report.figures import number
from kfp_vision.components.shared.report.records import Section, StageReport

__all__ = ["decided_settings", "probe_charts", "probe_report", "variant_rows"]

_SECTION = "training"
_DECIDED = ("batch_size", "learning_rate", "epochs", "steps", "weight_decay", "clip_norm")
# Shown when they were learned: their defaults are not the probe's business.
_OPTIONAL = ("steps_per_call", "jit_compile")
_THROUGHPUT = (
    ("images_per_second", "Speed", "Images/s"),
    ("relative_time", "Time to the same loss", "Relative to the fastest"),
    ("memory_mib", "Memory", "MiB"),
)
# One step of a range test is noisy; the probe reads this average too.
_WINDOW = 9


def probe_report(probe: ProbeResult, decided: Recipe, plan: RunPlan | None = None) -> StageReport:
    """Returns `probe` of `report.json`, the section on it, and the plan of the rest.

    Args:
        probe: The measurements.
        decided: The recipe that the probe wrote.
        plan: Of the stages that follow; None where that before still holds.
    """
    charts = probe_charts(probe, decided)
    data = {
        "probe": probe,
        "is_timed": plan is not None,
        "decided": decided_settings(decided),
        "variants": variant_rows(probe),
        "about_batch": charts["batch_size"],
        "about_rate": charts["learning_rate"],
    }
    section = Section("probe", "Batch and rate", "batch_size_probe/stage_report.html", data)
    summary = {"probe": dataclasses.asdict(probe), **({PLAN: plan} if plan else {})}
    return StageReport(summary=summary, sections=[section])


def probe_charts(probe: ProbeResult, decided: Recipe) -> dict[str, list[Chart]]:
    """Returns the charts about the `batch_size` and about the `learning_rate`.

    What was not measured has no chart.

    Args:
        probe: The measurements.
        decided: The recipe that the probe wrote.
    """
    batch_size, rate = (decided.get(_SECTION, name) for name in ("batch_size", "learning_rate"))
    losses = rate.evidence.get("trial_losses", {}) if rate else {}
    about_rate = [_range_chart(probe.range_test), _trial_chart(probe.trials, losses)]
    about_batch = [
        *_throughput_charts(probe.throughput, batch_size.value if batch_size else None),
        _noise_chart(probe.noise_scale),
    ]
    return {
        "batch_size": [chart for chart in about_batch if chart],
        "learning_rate": [chart for chart in about_rate if chart],
    }


def variant_rows(probe: ProbeResult) -> list[StepSpeed]:
    """Returns the variants of the step, the plain one first; empty when none was timed."""
    batch_sizes = {row.batch_size for row in probe.variants}
    plain = [row for row in probe.throughput if row.batch_size in batch_sizes]
    return [*plain, *probe.variants] if probe.variants else []


def decided_settings(decided: Recipe) -> list[dict[str, Any]]:
    """Returns `{"name", "setting", "interval"}` of each value that the probe decides on."""
    rows = []
    for name in (*_DECIDED, *_OPTIONAL):
        setting = decided.get(_SECTION, name)
        if setting and (name in _DECIDED or setting.source == "learned"):
            rows.append({"name": name, "setting": setting, "interval": _interval(setting)})
    return rows


def _interval(setting: Setting) -> str:
    low, high = setting.evidence.get("interval") or (None, None)
    return "" if low is None or high is None else f"{number(low, 3)} to {number(high, 3)}"


def _throughput_charts(rows: Sequence[StepSpeed], chosen: int | None) -> list[Chart]:
    """Returns speed, time and memory over the batch size; one size makes no line."""
    sizes = [row.batch_size for row in rows]
    return [
        line_chart(
            title,
            [Line(unit, sizes, values)],
            "Batch size",
            unit,
            y_range=(0.0, 1.05 * max(value for value in values if value is not None)),
            x_scale="log2",
            markers=[(chosen, "chosen")] if chosen is not None and chosen in sizes else [],
        )
        for key, title, unit in _THROUGHPUT
        for values in [[getattr(row, key) for row in rows]]
        if sum(value is not None for value in values) > 1
    ]


def _noise_chart(noise: NoiseScale | None) -> Chart | None:
    """Returns the noise scale over the steps, with the value that was estimated from them."""
    if noise is None:
        return None
    measured = {"Raw gradients": noise.raw, "Scaled by the optimizer": noise.scaled}
    lines = [
        Line(name, range(1, len(held) + 1), held)
        for name, held in measured.items()
        if any(value is not None and value > 0 for value in held)
    ]
    if not lines:
        return None
    steps = len(lines[0].x)
    if noise.value is not None:
        lines.append(Line("Estimate", [steps // 2 + 1, steps], [noise.value] * 2, "dashed"))
    return line_chart(
        "Gradient noise scale",
        lines,
        "Step of the best trial",
        "Images",
        x_range=(1, steps),
        y_scale="log10",
    )


def _range_chart(test: RangeTest | None) -> Chart | None:
    """Returns the loss over the rate, with the rates that were read from it."""
    if test is None:
        return None
    rates, losses = test.rates, np.asarray(test.losses, float)
    averaged = len(losses) >= _WINDOW
    lines = [Line("Each step", rates, losses, "faint" if averaged else "solid")]
    if averaged:
        edge = _WINDOW // 2
        means = np.convolve(losses, np.full(_WINDOW, 1 / _WINDOW), "valid")
        lines.insert(0, Line(f"Mean of {_WINDOW} steps", rates[edge:-edge], means))
    marks = ((test.plateau_rate, "trials begin"), (test.divergence_rate, "diverges"))
    return line_chart(
        "Range test",
        lines,
        "Learning rate",
        "Loss",
        x_scale="log10",
        y_scale="log10",
        markers=[(rate, text) for rate, text in marks if rate is not None],
    )


def _trial_chart(
    trials: Mapping[str, Sequence[float]], losses: Mapping[str, float]
) -> Chart | None:
    """Returns the smoothed loss of each trial; the rate with the lowest of `losses` stands out."""
    if not trials:
        return None
    best = min(losses, key=lambda rate: losses[rate], default=None)
    whole = max(map(len, trials.values()))
    lines = [
        Line(
            f"{number(float(rate))}{'' if len(held) == whole else ' (diverged)'}",
            range(1, len(held) + 1),
            held,
            "solid" if rate == best or best not in trials else "faint",
        )
        for rate, held in sorted(
            trials.items(), key=lambda trial: (trial[0] != best, float(trial[0]))
        )
    ]
    return line_chart("Trials at constant rates", lines, "Step", "Loss, smoothed", y_scale="log10")
