"""What the section on augmentation shows of the trials: the beam, the gains and the length.

T is the number of steps of the two trainings that tell the length.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.artifacts.search_result import ROUNDS, TrialSummary
from kfp_vision.components.shared.report.charts import Chart, Line, Tick, line_chart, nice_ticks
from kfp_vision.components.shared.report.figures import label, number

__all__ = ["Beam", "Gains", "beam_chart", "candidate_words", "gain_bars", "length_chart"]

# Standard errors to either side of the gain of a step.
_ERRORS = 2.0

_Techniques = frozenset[str]
_Place = tuple[float, float]


def candidate_words(candidate: Mapping[str, Any], techniques: Sequence[Mapping[str, Any]]) -> str:
    """Returns the techniques of a candidate, with their levels where they have several."""
    counts = {row["name"]: len(row["levels"]) for row in techniques}
    parts = [
        label(name) + (f" {level + 1} of {counts[name]}" if counts[name] > 1 else "")
        for name, level in candidate["levels"].items()
    ]
    parts += [f"without {label(name).lower()}" for name in candidate["without"]]
    return " + ".join(parts) or "Plain"


@dataclasses.dataclass(frozen=True)
class Beam:
    """All trials as dots in columns, a round each; places in percent of the plot area.

    Their height is the held-out loss minus that of the plain trial of the same seed.

    Attributes:
        ticks: Of the difference.
        dots: `{"x", "y", "kind", "text"}`; the kind is `plain`, `path` (to the best candidate),
            `other` or `failed`.
        plain: Height of the plain trials.
        edges: SVG path of 1000 x 1000 units from candidates to those made from them.
        path: Those of the edges that lead to the best candidate.
    """

    ticks: list[Tick]
    dots: list[dict[str, Any]]
    plain: float
    edges: str
    path: str


def beam_chart(search: TrialSummary) -> Beam | None:
    """Returns the beam, or None when no trial was finished."""
    differences = _differences(search)
    finished = [each for each in differences if each is not None]
    if not finished:
        return None
    low, high = _range(finished)
    best = _path_to_best(search)
    dots: list[dict[str, Any]] = []
    # Candidate -> its place in the first round that tried it.
    places: dict[_Techniques, _Place] = {}
    edges: dict[bool, list[str]] = {True: [], False: []}
    for column, name in enumerate(ROUNDS):
        pairs = zip(search.trials, differences, strict=True)
        trials = [(trial, loss) for trial, loss in pairs if trial["round"] == name]
        found: dict[_Techniques, _Place] = {}
        for row, (trial, loss) in enumerate(trials, start=1):
            key = _techniques(trial["candidate"])
            place = (
                (column + row / (len(trials) + 1)) / len(ROUNDS),
                1.0 if loss is None else min(1.0, (loss - low) / (high - low)),
            )
            kind = "failed" if loss is None else "path" if key in best else "other"
            kind = "plain" if loss is not None and not key else kind
            text = _describe(trial, search.techniques)
            dots.append({"x": 100 * place[0], "y": 100 * place[1], "kind": kind, "text": text})
            if loss is not None:
                parent = _parent(key, places, best)
                if parent is not None:
                    edges[{key, parent} <= best].append(_edge(places[parent], place))
                found[key] = place
        places = found | places
    return Beam(
        ticks=[Tick(100 * (at - low) / (high - low), number(at)) for at in nice_ticks(low, high)],
        dots=dots,
        plain=100 * (0 - low) / (high - low),
        edges="".join(edges[False]),
        path="".join(edges[True]),
    )


def _differences(search: TrialSummary) -> list[float | None]:
    """Returns each loss minus that of the plain trial of the same seed.

    It is None where one of the two failed.
    """
    plain = {
        trial["seed"]: trial["loss"]
        for trial in search.trials
        if not _techniques(trial["candidate"])
    }
    pairs = [(trial["loss"], plain.get(trial["seed"])) for trial in search.trials]
    return [None if loss is None or base is None else loss - base for loss, base in pairs]


def _range(differences: Sequence[float]) -> tuple[float, float]:
    """Returns the bounds of the axis; what is worse than the best is good is at the edge."""
    low, high = min(differences), max(differences)
    if low < 0:
        high = min(high, -low)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _techniques(candidate: Mapping[str, Any]) -> _Techniques:
    """Returns what is on; the plain candidate has nothing."""
    on = {f"{name} {level}" for name, level in candidate["levels"].items()}
    return frozenset(on | {f"without {name}" for name in candidate["without"]})


def _path_to_best(search: TrialSummary) -> set[_Techniques]:
    """Returns the candidates on the way to the best one, a technique more each."""
    parts = [
        step["name"] if step["name"].startswith("without ") else f"{step['name']} {step['level']}"
        for step in search.steps
    ]
    return {frozenset(parts[: count + 1]) for count in range(len(parts))}


def _parent(
    key: _Techniques, places: Mapping[_Techniques, _Place], best: set[_Techniques]
) -> _Techniques | None:
    """Returns the candidate of a round before that this one repeats or was made from."""
    if not key or key in places:
        return key or None
    pruned = [each for each in places if each > key and len(each - key) == 1]
    parents = [each for each in places if each and (each < key or _names(each) == _names(key))]

    def rank(each: _Techniques) -> tuple[bool, int, float]:
        # The way to the best one stays together; else what is most alike, and of the lowest loss.
        return key in best and each not in best, -len(each & key), places[each][1]

    return min(parents + pruned, key=rank, default=None)


def _names(key: _Techniques) -> set[str]:
    """Returns the techniques without their levels."""
    return {part.rsplit(" ", 1)[0] for part in key}


def _edge(start: _Place, end: _Place) -> str:
    left, right = (1000 * place[0] for place in (start, end))
    top, bottom = (1000 - 1000 * place[1] for place in (start, end))
    return f"M{left:.1f},{top:.1f}L{right:.1f},{bottom:.1f}"


def _describe(trial: Mapping[str, Any], techniques: Sequence[Mapping[str, Any]]) -> str:
    words = candidate_words(trial["candidate"], techniques)
    outcome = trial["error"] if trial["loss"] is None else f"{number(trial['loss'])} nats"
    return f"{label(trial['round'])}, seed {trial['seed']}\n{words}\n{outcome}"


@dataclasses.dataclass(frozen=True)
class Gains:
    """What each step takes off the held-out loss, as bars that begin where the last one ends.

    Attributes:
        rows: `{"name", "level", "gain", "error", "kind", "left", "width", "whisker"}`; the kind is
            `gain`, `loss`, `unknown` or `total`, places are in percent and the whisker
            `[left, width]` spans two errors to either side, of the total what acceptance asks for.
        ticks: Of the axis, nats.
    """

    rows: list[dict[str, Any]]
    ticks: list[Tick]


def gain_bars(search: TrialSummary, regularisers: Mapping[str, float]) -> Gains | None:
    """Returns the steps and what fresh seeds confirmed; None when nothing was confirmed.

    Args:
        search: The trials.
        regularisers: Hyperparameter -> its value before the search.
    """
    if not search.confirmed:
        return None
    levels = {row["name"]: row["levels"] for row in search.techniques}
    rows: list[dict[str, Any]] = []
    start = 0.0
    for step in search.steps:
        gain = step["gain"]
        kind = "unknown" if gain is None else "gain" if gain >= 0 else "loss"
        level = levels[step["name"]][step["level"]] if step["name"] in levels else ""
        if step["name"] in regularisers:
            level += f" instead of {number(regularisers[step['name']])}"
        rows.append({**step, "level": level, "kind": kind, "start": start})
        start += gain or 0.0
    total = {
        "name": "all_of_it",
        "level": "with seeds and images that chose nothing",
        "kind": "total",
    }
    confirmed = {key: search.confirmed[key] for key in ("gain", "error", "threshold")}
    rows.append({**total, **confirmed, "start": 0.0})
    spans = [(row["start"], row["start"] + (row["gain"] or 0.0)) for row in rows]
    errors = [
        0.0 if row["gain"] is None else row.get("threshold", _ERRORS * row["error"]) for row in rows
    ]
    low = min(min(begin, end - error) for (begin, end), error in zip(spans, errors, strict=True))
    high = max(max(begin, end + error) for (begin, end), error in zip(spans, errors, strict=True))
    scale = 100 / (high - low or 1.0)
    for row, (begin, end), error in zip(rows, spans, errors, strict=True):
        row["left"] = scale * (min(begin, end) - low)
        row["width"] = scale * abs(end - begin)
        row["whisker"] = [scale * (end - error - low), scale * 2 * error]
    ticks = [Tick(scale * (at - low), number(at)) for at in nice_ticks(low, high, 4)]
    return Gains(rows, ticks)


def length_chart(lengthening: Mapping[str, Any]) -> Chart | None:
    """Returns the loss with and without the policy [T]; None when the length was not measured."""
    if not lengthening or not lengthening["plain_losses"]:
        return None
    curves = {"Plain": "plain_losses", "With the policy": "policy_losses"}
    steps = range(1, len(lengthening["plain_losses"]) + 1)
    return line_chart(
        "Same start, same images",
        [Line(name, steps, lengthening[key]) for name, key in curves.items()],
        "Step",
        "Training loss",
        x_range=(1, len(steps)),
    )
