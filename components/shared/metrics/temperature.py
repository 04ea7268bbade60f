"""Temperature scaling: logits over one number, so that confidence means accuracy.

Reference: Guo et al., 2017, arXiv:1706.04599, section 4.2.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

__all__ = ["best_temperature"]

# A model far outside is broken, not badly calibrated.
_LOG_TEMPERATURE_RANGE = (-4.0, 4.0)


def best_temperature(loss: Callable[[np.ndarray], float], logits: np.ndarray) -> float:
    """Returns the T > 0 for which the loss of logits / T is least.

    Args:
        loss: Mean negative log-likelihood of logits of the shape of `logits`.
        logits: [N, ...].
    """
    values = logits.astype(np.float64)
    best = minimize_scalar(
        lambda log_t: loss(values / np.exp(log_t)), bounds=_LOG_TEMPERATURE_RANGE, method="bounded"
    )
    return float(np.exp(best.x))
