"""Charts as data: where every line, tick and bar lies, in percent of the plot area.

The template draws them as SVG and CSS, so that they fit any width, follow the colour scheme and
need no script to be seen; `page.js` adds the readout under the pointer.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kfp_vision.components.shared.report.figures import number

__all__ = [
    "Bar",
    "Chart",
    "Line",
    "Scale",
    "Style",
    "Tick",
    "histogram",
    "line_chart",
    "log_ticks",
    "nice_ticks",
    "thin",
]

# The plot area in SVG units; stretched to the width of the page.
_EXTENT = 1000.0
_MAX_POINTS = 300

Style = Literal["solid", "dashed", "faint"]
Scale = Literal["linear", "log2", "log10"]


@dataclasses.dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in percent and its text."""

    position: float
    text: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: `x` and `y` in the units of the axes, of equal length; None breaks it."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float | None] | np.ndarray
    style: Style = "solid"


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart, ready to be drawn.

    Attributes:
        title, x_label, y_label: Texts.
        x_ticks, y_ticks: From the left and from the bottom.
        lines: For each line `{"name", "style", "path"}`; the path is in SVG units, and the style of
            what has no two points beside each other ends with `point`.
        markers: Vertical marks.
        data: What the readout needs: `{"x": [low, high], "y": [low, high], "log_x", "lines"}`; the
            bounds of a logarithmic axis are binary logarithms.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[dict[str, str]]
    markers: list[Tick]
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


def log_ticks(low: float, high: float, base: int, count: int = 7) -> list[float]:
    """Returns at most `count` powers of `base` within [low, high]; round values when too few."""
    first = math.ceil(math.log(low, base) - 1e-9)
    last = math.floor(math.log(high, base) + 1e-9)
    if base == 10 and last - first < 2:
        powers = [10.0**power for power in range(first - 1, last + 1)]
        ticks = [tick for power in powers for tick in (power, 2 * power, 5 * power)]
        ticks = [tick for tick in ticks if low <= tick <= high]
    else:
        step = max(1, math.ceil((last - first + 1) / count))
        ticks = [float(base) ** power for power in range(first, last + 1, step)]
    return ticks if len(ticks) > 1 else nice_ticks(low, high)


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


def _on_axis(values: Any, scale: Scale) -> np.ndarray:
    """Returns values as they lie on the axis; NaN where a logarithm has no value."""
    held = np.asarray(values, float)
    return held if scale == "linear" else np.log2(np.where(held > 0, held, np.nan))


def _ticks(bounds: tuple[float, float], scale: Scale) -> list[Tick]:
    if scale == "linear":
        values = nice_ticks(*bounds)
    else:
        values = log_ticks(2 ** bounds[0], 2 ** bounds[1], 2 if scale == "log2" else 10)
    return [Tick(100 * _share(_on_axis(at, scale), bounds), number(at)) for at in values]


def _share(value: Any, bounds: tuple[float, float]) -> Any:
    return (value - bounds[0]) / ((bounds[1] - bounds[0]) or 1.0)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Returns an SVG path; a value that is not finite breaks the line.

    Of points alone it is lines without a length: with round ends these are dots.
    """
    commands, pen = [], "M"
    for left, bottom in zip(x, y, strict=True):
        if math.isfinite(left) and math.isfinite(bottom):
            commands.append(f"{pen}{left:.1f},{_EXTENT - bottom:.1f}")
            pen = "L"
        else:
            pen = "M"
    if not any(command.startswith("L") for command in commands):
        commands = [f"{command}h0" for command in commands]
    return "".join(commands)


def _drawn(line: Line, x: np.ndarray, y: np.ndarray) -> dict[str, str]:
    path = _path(x, y)
    style = f"{line.style} point" if path.endswith("h0") else line.style
    return {"name": line.name, "style": style, "path": path}


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
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
    markers: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Returns the chart of `lines`; a range that is not given is taken from the data."""
    points = [(_on_axis(line.x, x_scale), _on_axis(line.y, y_scale)) for line in lines]
    every_x = np.concatenate([np.empty(0), *(x for x, _ in points)])
    every_y = np.concatenate([np.empty(0), *(y for _, y in points)])
    finite_x, finite_y = every_x[np.isfinite(every_x)], every_y[np.isfinite(every_y)]
    if x_range is not None:
        low, high = _on_axis(x_range, x_scale)
        x_bounds = (float(low), float(high))
    else:
        x_bounds = (float(finite_x.min()), float(finite_x.max())) if len(finite_x) else (0.0, 1.0)
    if y_range is not None:
        low, high = _on_axis(y_range, y_scale)
        y_bounds = (float(low), float(high))
    else:
        y_bounds = _padded(finite_y)
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=_ticks(x_bounds, x_scale),
        y_ticks=_ticks(y_bounds, y_scale),
        lines=[
            _drawn(line, _EXTENT * _share(x, x_bounds), _EXTENT * _share(y, y_bounds))
            for line, (x, y) in zip(lines, points, strict=True)
        ],
        markers=[
            Tick(100 * _share(float(_on_axis(at, x_scale)), x_bounds), text) for at, text in markers
        ],
        data={
            "x": list(x_bounds),
            "y": list(y_bounds),
            "log_x": x_scale != "linear",
            "lines": [
                {"x": _readout(np.asarray(line.x, float)), "y": _readout(np.asarray(line.y, float))}
                for line in lines
            ],
        },
    )


def histogram(edges: Sequence[float], counts: Sequence[int], unit: str) -> list[Bar]:
    """Returns one bar for each of `counts`; `edges` has one value more."""
    highest = max([1, *counts])
    return [
        Bar(100 * count / highest, f"{number(low)} to {number(high)} {unit}: {count:,}")
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
