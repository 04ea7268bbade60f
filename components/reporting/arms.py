"""What was tried beside a plain training, as bars: what each gained, and whether it was kept."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from kfp_vision.components.shared.report.charts import Tick, nice_ticks
from kfp_vision.components.shared.report.figures import number
from kfp_vision.components.shared.report.records import Arm

__all__ = ["ArmBars", "arm_bars"]

# Of what lies beyond the bars: an interval that is wider would make them too short to be seen.
_WIDEST = 2.0


@dataclasses.dataclass(frozen=True)
class ArmBars:
    """The bars; places and widths in percent of the width.

    Attributes:
        rows: The arms with `left` and `width` of the bar, which begins at zero, and `whisker`, left
            and width of the interval.
        ticks: Of the gain in nats.
        zero: Its place.
    """

    rows: list[dict[str, Any]]
    ticks: list[Tick]
    zero: float


def arm_bars(arms: Sequence[Arm]) -> ArmBars:
    """Returns the bars of arms, at least one.

    An interval that goes far beyond all bars is cut at the edge.
    """
    values = [0.0, *(arm.gain.value for arm in arms)]
    reach = _WIDEST * (max(values) - min(values)) or max(arm.gain.high for arm in arms) or 1.0
    low = max(min(values) - reach, min(0.0, *(arm.gain.low for arm in arms)))
    high = min(max(values) + reach, max(0.0, *(arm.gain.high for arm in arms)))
    scale = 100 / (high - low or 1.0)
    rows = []
    for arm in arms:
        begin, end = (min(high, max(low, at)) for at in (arm.gain.low, arm.gain.high))
        rows.append(
            {
                **dataclasses.asdict(arm),
                "left": scale * (min(0.0, arm.gain.value) - low),
                "width": scale * abs(arm.gain.value),
                "whisker": [scale * (begin - low), scale * (end - begin)],
            }
        )
    ticks = [Tick(scale * (at - low), number(at)) for at in nice_ticks(low, high, 4)]
    return ArmBars(rows, ticks, scale * (0.0 - low))
