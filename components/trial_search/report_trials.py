"""What the section on augmentation shows of the trials and of what each technique gains."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    SearchResult,
)
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.report.charts import Tick, nice_ticks
from kfp_vision.components.shared.report.figures import label, number
from kfp_vision.components.shared.report.records import Arm

__all__ = ["Gains", "TrialChart", "candidate_words", "confirmed_arm", "gain_bars", "trial_chart"]

# Standard errors to either side of a gain.
_ERRORS = 2.0


def candidate_words(candidate: Candidate, techniques: Mapping[str, Sequence[str]]) -> str:
    """Returns the techniques of a candidate, with their levels where they have several."""
    parts = [
        label(name)
        + (f" {level + 1} of {len(techniques[name])}" if len(techniques[name]) > 1 else "")
        for name, level in candidate.levels
    ]
    parts += [f"without {label(name).lower()}" for name in candidate.without]
    return " + ".join(parts) or "Baseline"


@dataclasses.dataclass(frozen=True)
class TrialChart:
    """All trials as dots in columns, a round each; places in percent of the plot area.

    Their height is the held-out loss minus that of the baseline of the same round and seed.

    Attributes:
        ticks: Ticks of the difference.
        dots: `{"x", "y", "kind", "text"}`; the kind is `baseline`, `chosen` (techniques on the way
            to the confirmed candidate), `other` or `failed`.
        baseline: Height of the baseline.
    """

    ticks: list[Tick]
    dots: list[dict[str, Any]]
    baseline: float


def trial_chart(search: SearchResult) -> TrialChart | None:
    """Returns the chart, or None when no trial was finished."""
    baselines = {
        (trial.round == ROUNDS[-1], trial.seed): trial.loss
        for trial in search.trials
        if trial.candidate == BASELINE
    }
    differences = []
    for trial in search.trials:
        base = baselines.get((trial.round == ROUNDS[-1], trial.seed))
        failed = trial.loss is None or base is None
        differences.append(None if failed else (trial.loss or 0.0) - (base or 0.0))
    finished = [each for each in differences if each is not None]
    if not finished:
        return None
    low, high = _range(finished)
    scale = 100 / (high - low)
    chosen = _path_to_chosen(search)
    dots: list[dict[str, Any]] = []
    for column, name in enumerate(ROUNDS):
        pairs = zip(search.trials, differences, strict=True)
        trials = [(trial, value) for trial, value in pairs if trial.round == name]
        for row, (trial, value) in enumerate(trials, start=1):
            words = candidate_words(trial.candidate, search.techniques)
            outcome = trial.error if trial.loss is None else f"{number(trial.loss)} nats"
            kind = "chosen" if trial.candidate in chosen else "other"
            kind = "baseline" if trial.candidate == BASELINE else kind
            dots.append(
                {
                    "x": 100 * (column + row / (len(trials) + 1)) / len(ROUNDS),
                    "y": 100.0 if value is None else min(100.0, scale * (value - low)),
                    "kind": "failed" if value is None else kind,
                    "text": f"{label(name)}, seed {trial.seed}\n{words}\n{outcome}",
                }
            )
    ticks = [Tick(scale * (at - low), number(at)) for at in nice_ticks(low, high)]
    return TrialChart(ticks, dots, scale * (0 - low))


def _range(differences: Sequence[float]) -> tuple[float, float]:
    """Returns the bounds of the axis; what is worse than the best is good is at the edge."""
    low, high = min(differences), max(differences)
    if low < 0:
        high = min(high, -low)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _path_to_chosen(search: SearchResult) -> set[Candidate]:
    """Returns the candidates on the way to the confirmed one, a technique more each."""
    found, held = set(), BASELINE
    for step in search.steps:
        if step.name.startswith("without "):
            without = (*held.without, step.name.removeprefix("without "))
            held = Candidate(held.levels, without)
        else:
            held = held.adding((step.name, step.level))
        found.add(held)
    return found


@dataclasses.dataclass(frozen=True)
class Gains:
    """What each step takes off the held-out loss, as bars that begin where the last one ends.

    Attributes:
        rows: `{"name", "level", "gain", "error", "kind", "left", "width", "whisker"}`; the kind is
            `gain`, `loss`, `unknown` or `total`, places are in percent and the whisker
            `[left, width]` spans two standard errors to either side.
        ticks: Ticks of the axis, nats.
    """

    rows: list[dict[str, Any]]
    ticks: list[Tick]


def confirmed_arm(search: SearchResult) -> list[Arm]:
    """Returns what the confirmation found, beside what other stages have tried."""
    held = search.confirmed
    if held is None:
        return []
    half = _ERRORS * held.error
    gain = Gain(held.gain, held.gain - half, held.gain + half)
    seconds = sum(trial.seconds for trial in search.trials)
    return [Arm("augmentation and regularisation", gain, held.accepted, seconds)]


def gain_bars(search: SearchResult, regularisers: Mapping[str, float]) -> Gains | None:
    """Returns the steps and what the confirmation found; None when nothing was confirmed.

    Args:
        search: The trials.
        regularisers: Hyperparameter -> its value before the search.
    """
    if search.confirmed is None:
        return None
    rows: list[dict[str, Any]] = []
    start = 0.0
    for step in search.steps:
        kind = "unknown" if step.gain is None else "gain" if step.gain >= 0 else "loss"
        level = search.techniques[step.name][step.level] if step.name in search.techniques else ""
        if step.name in regularisers:
            level += f" instead of {number(regularisers[step.name])}"
        rows.append({**dataclasses.asdict(step), "level": level, "kind": kind, "start": start})
        start += step.gain or 0.0
    rows.append(
        {
            "name": "all_of_it",
            "level": "with seeds and images that selection never saw",
            "kind": "total",
            "gain": search.confirmed.gain,
            "error": search.confirmed.error,
            "start": 0.0,
        }
    )
    spans = [(row["start"], row["start"] + (row["gain"] or 0.0)) for row in rows]
    errors = [_ERRORS * (row["error"] or 0.0) for row in rows]
    low = min(min(begin, end - error) for (begin, end), error in zip(spans, errors, strict=True))
    high = max(max(begin, end + error) for (begin, end), error in zip(spans, errors, strict=True))
    scale = 100 / (high - low or 1.0)
    for row, (begin, end), error in zip(rows, spans, errors, strict=True):
        row["left"] = scale * (min(begin, end) - low)
        row["width"] = scale * abs(end - begin)
        row["whisker"] = [scale * (end - error - low), scale * 2 * error]
    ticks = [Tick(scale * (at - low), number(at)) for at in nice_ticks(low, high, 4)]
    return Gains(rows, ticks)
