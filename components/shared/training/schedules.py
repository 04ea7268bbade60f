"""Learning-rate schedules as closed forms over steps."""

import numpy as np

__all__ = ["warmup_cosine"]


def warmup_cosine(
    steps: np.ndarray, peak: float, warmup_steps: int, total_steps: int
) -> np.ndarray:
    """Returns the learning rate of each step, float32, same shape as `steps`.

    Linear from peak / warmup_steps to the peak, then half a cosine that reaches 0 at `total_steps`.

    Reference: Loshchilov and Hutter, 2017, arXiv:1608.03983, eq. 5, one cycle; warm-up after Goyal
    et al., 2017, arXiv:1706.02677, section 2.2.
    """
    rising = (steps + 1) / max(warmup_steps, 1)
    progress = (steps - warmup_steps) / max(total_steps - warmup_steps, 1)
    falling = 0.5 * (1 + np.cos(np.pi * np.clip(progress, 0, 1)))
    return (peak * np.where(steps < warmup_steps, rising, falling)).astype(np.float32)
