"""Whether a model replaces the champion: by the interval of the difference on the same images.

d is the primary metric of the model minus that of the champion, [l, h] its 95 % interval, m the
margin. `better`: l > 0. `not_worse`: l > -m, a test of non-inferiority at 2.5 %. `worse`: h < 0.
`undecided`: none of these, the images are too few to tell.

b is what the champion is below the best of its line: 0 for a first or hand-picked one, and
max(0, b - d) for the one that follows it. `drifted`: not worse, but d - b < -m. So the champions of
a year together lose no more than the margin of one, as far as the test images can measure it.
"""

import dataclasses
import math
from typing import Any, get_args

from kfp_vision.components.shared.artifacts.champion_comparison import (
    ChampionRule,
    ComparedPart,
    Decision,
)

__all__ = ["Gate", "decide", "explain"]


@dataclasses.dataclass(frozen=True)
class Gate:
    """What lets a model replace the champion.

    Attributes:
        rule: `not_worse`, or `better`.
        margin: m, how far below the champion a model may be that is not worse.
    """

    rule: str = "not_worse"
    margin: float = 0.02

    def __post_init__(self) -> None:
        """Refuses a rule and a margin that are none."""
        if self.rule not in get_args(ChampionRule):
            raise ValueError(
                f"`champion_rule` must be one of {list(get_args(ChampionRule))}. "
                f"Received: {self.rule!r}"
            )
        if not 0 <= self.margin < 1:
            raise ValueError(
                f"`champion_margin` must be at least 0 and below 1. Received: {self.margin}"
            )

    def opens(self, decision: Decision) -> bool:
        """Returns whether a model of this decision replaces the champion."""
        # `better` opens every gate.
        return decision in ("first", "better", self.rule)


def decide(
    low: float, high: float, margin: float, difference: float = 0.0, below: float = 0.0
) -> Decision:
    """Returns the decision.

    Args:
        low: l.
        high: h.
        margin: m.
        difference: d.
        below: b.
    """
    if low > 0:
        return "better"
    if low > -margin:
        return "drifted" if difference - below < -margin else "not_worse"
    return "worse" if high < 0 else "undecided"


def explain(
    decision: Decision,
    gate: Gate,
    champion: str,
    primary: str,
    part: ComparedPart,
    below: float = 0.0,
) -> str:
    """Returns the decision and its figures in one or two sentences.

    Args:
        decision: `same`, or of `decide`.
        gate: The rule.
        champion: Name of the version.
        primary: The metric.
        part: The images that have decided.
        below: b.
    """
    figures = _figures(primary, part)
    if decision == "same":
        return f"The model is the champion {champion}: it predicts the same of every image."
    if gate.opens(decision):
        kind = "better" if decision == "better" else f"not worse by more than {gate.margin:g}"
        return f"The model replaces the champion {champion}, because it is {kind}: {figures}"
    start = f"The model does not replace the champion {champion}: {figures}"
    if decision == "not_worse":
        return f"{start} It is not worse, but not clearly better, as the rule `better` asks."
    if decision == "worse":
        return f"{start} It is clearly worse."
    if decision == "drifted":
        return (
            f"{start} The champion is {below:.4f} below the best one before it: together that is "
            f"more than {gate.margin:g}."
        )
    return f"{start} {_more_images(gate, part)}"


def _figures(primary: str, part: ComparedPart) -> str:
    assert part.model
    assert part.champion
    assert part.difference
    low, high = part.difference["ci95"]
    which = " of the classes that the champion knows" if part.name == "old_classes" else ""
    return (
        f"{primary} {part.model['value']:.4f} against {part.champion['value']:.4f} on "
        f"{part.num_images:,} images{which}, difference {part.difference['value']:+.4f} "
        f"(95 % interval {low:+.4f} to {high:+.4f})."
    )


def _more_images(gate: Gate, part: ComparedPart) -> str:
    """Returns how many images it would take; a difference like this one, and the same spread."""
    difference: dict[str, Any] = part.difference or {}
    limit = -gate.margin if gate.rule == "not_worse" else 0.0
    value, low = difference["value"], difference["ci95"][0]
    if value <= limit:
        return f"It may be below {limit:g}."
    # Widths shrink with the root of the number; two digits say enough.
    needed = part.num_images * ((value - low) / (value - limit)) ** 2
    digits = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return (
        f"That may be below {limit:g}: a difference like this takes about "
        f"{math.ceil(needed / digits) * digits:,} test images to tell."
    )
