"""The batch size of least time to the target, and which sizes the measured times cannot tell apart.

Source of the time: McCandlish et al., 2018, arXiv:1812.06162, eq. 2.11.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from kfp_vision.components.shared.artifacts.probe_result import StepSpeed

__all__ = ["BatchChoice", "choose_batch_size", "tie_margin"]

# A gain that is worth another batch than the reference. Measured on random pixels, it leaves out
# what a training does beside its steps.
_LEAST_GAIN = 0.05
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class BatchChoice:
    """The choice and its evidence.

    Attributes:
        batch_size: The chosen one.
        relative_times: Size -> time to the target over the least of all sizes.
        tie_margin: Sizes of a relative time of at most 1 + this are a tie; None where no speed was
            measured twice and all sizes are.
    """

    batch_size: int
    relative_times: dict[int, float]
    tie_margin: float | None


def choose_batch_size(rows: Sequence[StepSpeed], noise_scale: float, reference: int) -> BatchChoice:
    """Returns the size of least time to the target, or of a tie the one nearest to the reference.

    Time is proportional to (1 + B_noise/B) B / r(B): steps times seconds a step. Near is a matter
    of ratios; of two equally near sizes the smaller one needs fewer examples and less memory.

    Args:
        rows: Feasible measurements, at least one.
        noise_scale: B_noise in examples.
        reference: Batch size that the learning rate is measured at.
    """
    times = {row.batch_size: (row.batch_size + noise_scale) / row.images_per_second for row in rows}
    least = min(times.values())
    relative = {size: time / least for size, time in times.items()}
    margin = tie_margin([row.scatter for row in rows if row.scatter is not None])
    tied = [size for size, ratio in relative.items() if margin is None or ratio <= 1 + margin]
    nearest = min(tied, key=lambda size: (abs(math.log(size / reference)), size))
    return BatchChoice(nearest, relative, margin)


def tie_margin(scatters: Sequence[float]) -> float | None:
    """Returns the relative difference of two times up to which they are a tie.

    Of k sizes measured twice, d_i is the logarithm of one speed over the other. One measurement
    then scatters by rms(d) / sqrt(2), and the difference of two sizes by rms(d): it is chance up to
    t(k) rms(d), with the 97.5 % quantile of Student's t of k degrees of freedom. Below 5 % nothing
    is gained that would show.

    Args:
        scatters: |d_i|, of k sizes.
    """
    if not scatters:
        return None
    quantile = stdtrit(len(scatters), 0.5 + _LEVEL / 2)
    chance = math.expm1(quantile * math.sqrt(np.mean(np.square(scatters))))
    return max(_LEAST_GAIN, chance)
