"""The fastest batch and its ties in closed form, and how often chance exceeds the margin."""

import math

import numpy as np
import pytest
from scipy import stats

from kfp_vision.components.batch_size_probe.batch_choice import choose_batch_size, tie_margin
from kfp_vision.components.batch_size_probe.timing import look_again
from kfp_vision.components.shared.artifacts.probe_result import StepSpeed


def _row(batch_size: int, speed: float, scatter: float | None = 0.001) -> StepSpeed:
    return StepSpeed(batch_size, speed, 100.0, 8, False, scatter=scatter)


def test_a_device_that_is_no_faster_with_larger_batches_wants_small_ones() -> None:
    flat = [_row(size, 1000.0) for size in (16, 64, 256)]
    choice = choose_batch_size(flat, noise_scale=100.0, reference=64)
    assert choice.batch_size == 16
    # (B + B_noise) / r(B), over 116 / 1000.
    assert choice.relative_times == pytest.approx({16: 1.0, 64: 164 / 116, 256: 356 / 116})


def test_a_device_that_scales_wants_batches_near_the_noise_scale() -> None:
    linear = [_row(size, 10.0 * size) for size in (16, 64, 256, 1024)]
    # r ~ B: time is 1 + B_noise / B, and the gain beyond the noise scale is below 5 %.
    assert choose_batch_size(linear, noise_scale=10.0, reference=64).batch_size == 256
    assert choose_batch_size(linear, noise_scale=1e5, reference=64).batch_size == 1024


@pytest.mark.parametrize("reference", [16, 32, 64, 128])
def test_half_a_percent_does_not_leave_the_reference(reference: int) -> None:
    rows = [_row(size, size + 200.0) for size in (16, 32, 64, 128)]
    fastest = 16 if reference != 16 else 128
    rows = [
        _row(row.batch_size, row.images_per_second * (1.005 if row.batch_size == fastest else 1))
        for row in rows
    ]
    choice = choose_batch_size(rows, noise_scale=200.0, reference=reference)
    assert min(choice.relative_times, key=lambda size: choice.relative_times[size]) == fastest
    assert choice.batch_size == reference


def test_of_two_equally_near_sizes_the_smaller_is_taken() -> None:
    rows = [_row(32, 232.0), _row(128, 328.0), _row(64, 100.0)]
    assert choose_batch_size(rows, noise_scale=200.0, reference=64).batch_size == 32


@pytest.mark.parametrize(("scatter", "chosen"), [(0.05, 16), (0.3, 64), (None, 64)])
def test_times_that_scatter_more_than_they_differ_are_a_tie(
    scatter: float | None, chosen: int
) -> None:
    # 41 % slower than at 16: three pairs that differ by 5 % tell that, by 30 % they do not.
    rows = [_row(size, 1000.0, scatter) for size in (16, 64, 256)]
    assert choose_batch_size(rows, noise_scale=100.0, reference=64).batch_size == chosen


@pytest.mark.parametrize("scatters", [[0.2], [0.1, 0.2], [0.05, 0.3, 0.1, 0.02]])
def test_the_margin_is_that_of_student_and_at_least_five_percent(scatters: list[float]) -> None:
    rms = math.sqrt(sum(each**2 for each in scatters) / len(scatters))
    quantile = stats.t.ppf(0.975, len(scatters))
    assert tie_margin(scatters) == pytest.approx(math.exp(quantile * rms) - 1)
    assert tie_margin([each / 1000 for each in scatters]) == 0.05
    assert tie_margin([]) is None


@pytest.mark.parametrize("num_sizes", [2, 5])
def test_equal_sizes_are_a_tie_in_95_percent_of_the_measurements(num_sizes: int) -> None:
    generator, deviation, draws = np.random.default_rng(0), 0.2, 4000
    pairs = generator.normal(0, deviation, (draws, num_sizes, 2))
    two = generator.normal(0, deviation, (draws, 2))
    margins = [tie_margin(each) for each in np.abs(np.diff(pairs)[..., 0]).tolist()]
    ratios = np.exp(np.abs(np.diff(two)[:, 0])) - 1
    held = np.mean([r <= m for r, m in zip(ratios, margins, strict=True) if m is not None])
    assert held == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / draws) + 0.005)


@pytest.mark.parametrize(("first", "again"), [(100.0, 125.0), (125.0, 100.0)])
def test_a_second_measurement_keeps_the_faster_and_says_how_far_they_are_apart(
    first: float, again: float
) -> None:
    row = look_again(_row(64, first, None), _row(64, again, None))
    assert row.images_per_second == 125.0
    assert row.scatter == pytest.approx(math.log(1.25))
    assert look_again(_row(64, first, None), None) == _row(64, first, None)
