"""Charts as data: where every line, tick and bar lies, in percent of the plot area.

The template draws them as SVG and CSS, so that they fit any width, follow the colour scheme and
need no script to be seen; `page.js` adds the readout under the pointer.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kfp_vision.components.evaluation.report.figures import number

__all__ = ["Bar", "Chart", "Line", "Style", "Tick", "histogram", "line_chart", "nice_ticks", "thin"]

# The plot area in SVG units; stretched to the width of the page.
_EXTENT = 1000.0
_MAX_POINTS = 300

Style = Literal["solid", "dashed", "faint"]


@dataclasses.dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in percent and its text."""

    position: float
    text: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: `x` and `y` in the units of the axes, of equal length."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    style: Style = "solid"


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart, ready to be drawn.

    Attributes:
        title, x_label, y_label: Texts.
        x_ticks, y_ticks: From the left and from the bottom.
        lines: For each line `{"name", "style", "path"}`; the path is in SVG units.
        marker: A vertical mark, or None.
        data: What the readout needs: `{"x": [low, high], "y": [low, high], "lines": [...]}`.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[dict[str, str]]
    marker: Tick | None
    data: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a histogram: its height in percent of the highest, and what it says."""

    height: float
    text: str


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about `count` round values within [low, high]; steps of 1, 2 or 5 times 10^k."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= span)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def thin(x: np.ndarray, y: np.ndarray, points: int = _MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `points` points: the means of equal runs of a long line."""
    if len(x) <= points:
        return x, y
    parts = np.array_split(np.arange(len(x)), points)
    return np.array([x[part].mean() for part in parts]), np.array(
        [y[part].mean() for part in parts]
    )


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin if low < 0 or low > margin else 0.0, high + margin


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Returns an SVG path; a value that is not finite breaks the line."""
    commands, pen = [], "M"
    for left, bottom in zip(x, y, strict=True):
        if math.isfinite(left) and math.isfinite(bottom):
            commands.append(f"{pen}{left:.1f},{_EXTENT - bottom:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(commands)


def _readout(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marker: tuple[float, str] | None = None,
) -> Chart:
    """Returns the chart of `lines`; a range that is not given is taken from the data."""
    points = [(np.asarray(line.x, float), np.asarray(line.y, float)) for line in lines]
    every_x = np.concatenate([np.empty(0), *(x for x, _ in points)])
    every_y = np.concatenate([np.empty(0), *(y for _, y in points)])
    finite_x, finite_y = every_x[np.isfinite(every_x)], every_y[np.isfinite(every_y)]
    if x_range is None:
        x_range = (float(finite_x.min()), float(finite_x.max())) if len(finite_x) else (0.0, 1.0)
    y_range = y_range or _padded(finite_y)

    def share(value: Any, bounds: tuple[float, float]) -> Any:
        return (value - bounds[0]) / ((bounds[1] - bounds[0]) or 1.0)

    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=[Tick(100 * share(at, x_range), number(at)) for at in nice_ticks(*x_range)],
        y_ticks=[Tick(100 * share(at, y_range), number(at)) for at in nice_ticks(*y_range)],
        lines=[
            {
                "name": line.name,
                "style": line.style,
                "path": _path(_EXTENT * share(x, x_range), _EXTENT * share(y, y_range)),
            }
            for line, (x, y) in zip(lines, points, strict=True)
        ],
        marker=marker and Tick(100 * share(marker[0], x_range), marker[1]),
        data={
            "x": list(x_range),
            "y": list(y_range),
            "lines": [{"x": _readout(x), "y": _readout(y)} for x, y in points],
        },
    )


def histogram(edges: Sequence[float], counts: Sequence[int], unit: str) -> list[Bar]:
    """Returns one bar for each of `counts`; `edges` has one value more."""
    highest = max([1, *counts])
    return [
        Bar(100 * count / highest, f"{number(low)} to {number(high)} {unit}: {count:,}")
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
