import math

import numpy as np
import pytest

from kfp_vision.components.shared.report.charts import (
    Line,
    histogram,
    line_chart,
    log_ticks,
    nice_ticks,
    thin,
)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 300, [0, 100, 200, 300]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("scale", np.geomspace(1e-8, 1e8, 40))
def test_ticks_lie_within_the_range_at_every_scale(scale: float) -> None:
    ticks = nice_ticks(0.13 * scale, 1.7 * scale)
    assert 2 <= len(ticks) <= 7
    assert 0.13 * scale <= ticks[0] < ticks[-1] <= 1.7 * scale * (1 + 1e-9)
    assert np.ptp(np.diff(ticks)) < 1e-6 * scale


@pytest.mark.parametrize(
    ("low", "high", "base", "ticks"),
    [
        (16, 256, 2, [16, 32, 64, 128, 256]),
        (16, 4096, 2, [16, 64, 256, 1024, 4096]),
        (1e-5, 1, 10, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]),
        (26, 275, 10, [50, 100, 200]),
        (2.2, 3.4, 10, [2.5, 3]),
        (64, 64, 2, [64]),
    ],
)
def test_logarithmic_ticks_are_powers_or_round(
    low: float, high: float, base: int, ticks: list[float]
) -> None:
    assert log_ticks(low, high, base) == pytest.approx(ticks)


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis() -> None:
    line = Line("speed", [16, 32, 64, 256], [1.0, 10.0, 0.0, 1000.0])
    chart = line_chart(
        "t",
        [line],
        "x",
        "y",
        x_scale="log2",
        y_scale="log10",
        y_range=(1, 1000),
        markers=[(64, "m")],
    )
    # Zero has no logarithm and breaks the line.
    assert chart.lines[0]["path"] == "M0.0,1000.0L250.0,666.7M1000.0,0.0"
    assert [tick.position for tick in chart.x_ticks] == [0, 25, 50, 75, 100]
    assert chart.markers[0].position == 50
    assert chart.data["x"] == [4, 8]
    assert chart.data["lines"][0] == {"x": [16, 32, 64, 256], "y": [1, 10, 0, 1000]}


def test_corners_of_the_range_are_corners_of_the_plot() -> None:
    line = Line("diagonal", [0.0, 1.0], [0.0, 1.0])
    chart = line_chart("t", [line], "x", "y", x_range=(0, 1), y_range=(0, 1))
    assert chart.lines[0]["path"] == "M0.0,1000.0L1000.0,0.0"


def test_a_value_that_is_not_finite_breaks_the_line_and_leaves_the_scale_alone() -> None:
    line = Line("loss", [0, 1, 2, 3], [1.0, math.nan, math.inf, 3.0])
    chart = line_chart("t", [line], "x", "y")
    assert chart.lines[0]["path"].count("M") == 2
    assert chart.data["lines"][0]["y"] == [1.0, None, None, 3.0]
    assert all(map(math.isfinite, chart.data["y"]))


@pytest.mark.parametrize("y", [[], [0.5], [2.0, 2.0], [-1.0, -1.0], [0.0, 0.0]])
def test_degenerate_lines_have_a_scale(y: list[float]) -> None:
    chart = line_chart("t", [Line("a", list(range(len(y))), y)], "x", "y")
    low, high = chart.data["y"]
    assert low < high
    assert all(low <= value <= high for value in y)


def test_thinning_keeps_the_mean_and_short_lines() -> None:
    x, y = np.arange(3000.0), np.random.default_rng(0).normal(size=3000)
    short_x, short_y = thin(x, y, 100)
    assert len(short_x) == len(short_y) == 100
    assert short_y.mean() == pytest.approx(y.mean())
    np.testing.assert_array_equal(thin(x[:50], y[:50], 100)[1], y[:50])


def test_histogram_heights_are_relative_to_the_highest_bar() -> None:
    bars = histogram([0, 1, 2, 3], [5, 0, 20], "px")
    assert [bar.height for bar in bars] == [25, 0, 100]
    assert bars[2].text == "2 to 3 px: 20"


def test_a_single_point_is_a_dot_and_a_line_is_none() -> None:
    point, line = Line("a", [1], [0.5], "faint"), Line("b", [0, 1], [0.5, 0.6])
    single, whole = line_chart("t", [point, line], "x", "y").lines
    assert single["style"] == "faint point"
    assert single["path"].endswith("h0")
    assert single["path"].count("M") == 1
    assert (whole["style"], "h0" in whole["path"]) == ("solid", False)
    assert line_chart("t", [Line("a", [], [])], "x", "y").lines[0]["style"] == "solid"
