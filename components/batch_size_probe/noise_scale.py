"""The gradient noise scale from the micro-batch norms of ordinary training steps.

Shapes: T steps, K micro-batches of b examples each, B = K b. G is the gradient of the whole
distribution, Sigma the covariance of one example's gradient.
Source: McCandlish et al., 2018, arXiv:1812.06162, appendix A.1.
"""

import numpy as np

from kfp_vision.components.shared.artifacts.probe_result import NoiseScale

__all__ = ["estimate_noise_scale", "moving_noise_scale", "unbiased_estimates"]

# Two-sided 95 % of the normal distribution.
_Z95 = 1.96


def unbiased_estimates(
    micro_sq_norms: np.ndarray, sq_norms: np.ndarray, micro_batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns unbiased estimates of |G|^2 and tr(Sigma), both [T].

    Args:
        micro_sq_norms: Squared norms of the gradients of the micro-batches, [T, K].
        sq_norms: Squared norm of their mean, [T].
        micro_batch: b.

    Raises:
        ValueError: There are fewer than two micro-batches, or b is not positive.
    """
    num_micro = micro_sq_norms.shape[-1]
    if num_micro < 2 or micro_batch < 1:
        raise ValueError(
            "The noise scale needs two micro-batches of at least one example. "
            f"Received: {num_micro} of {micro_batch}"
        )
    batch, mean = num_micro * micro_batch, micro_sq_norms.mean(axis=-1)
    sq_norm = (batch * sq_norms - micro_batch * mean) / (batch - micro_batch)
    trace = (mean - sq_norms) / (1 / micro_batch - 1 / batch)
    return sq_norm, trace


def estimate_noise_scale(sq_norm: np.ndarray, trace: np.ndarray) -> NoiseScale:
    """Returns the ratio of the means over T steps (the mean of the ratios would be biased).

    What is left of the bias, which a ratio of means has too, is taken off to second order. The
    interval is that of the logarithm of the ratio, by the delta method with the covariance of the
    two means. Steps whose norms are not finite are left out.

    Args:
        sq_norm: Estimates of |G|^2, [T].
        trace: Estimates of tr(Sigma), [T].

    Raises:
        ValueError: There are fewer than two steps.
    """
    if len(sq_norm) < 2:
        raise ValueError(f"A standard error needs two steps. Received: {len(sq_norm)}")
    finite = np.isfinite(sq_norm) & np.isfinite(trace)
    if finite.sum() < 2:
        return NoiseScale(None, 0.0, None, 0.0, 0.0, 0.0, 0.0)
    sq_norm, trace = sq_norm[finite], trace[finite]
    (var_g, covariance), (_, var_s) = np.cov(sq_norm, trace) / len(sq_norm)
    g, s = float(sq_norm.mean()), float(trace.mean())
    g_error, s_error = float(np.sqrt(var_g)), float(np.sqrt(var_s))
    if g <= 2 * g_error or s <= 0:
        low = max(s - 2 * s_error, 0.0) / (max(g, 0.0) + 2 * g_error) if g_error > 0 else 0.0
        return NoiseScale(None, low, None, s, s_error, g, g_error)
    spread = np.sqrt(max(var_s / s**2 + var_g / g**2 - 2 * covariance / (s * g), 0.0))
    ratio = s / g * (1 - var_g / g**2 + covariance / (s * g))
    low, high = ratio * np.exp([-_Z95 * spread, _Z95 * spread])
    return NoiseScale(float(ratio), float(low), float(high), s, s_error, g, g_error)


def moving_noise_scale(
    sq_norm: np.ndarray, trace: np.ndarray, decay: float = 0.9
) -> list[float | None]:
    """Returns the noise scale at every step from moving averages of both estimates, T values.

    None where the average of |G|^2 is not above two of its standard errors.

    Args:
        sq_norm: Estimates of |G|^2, [T].
        trace: Estimates of tr(Sigma), [T].
        decay: Factor of both averages, so that the lag cancels in the ratio.
    """
    ratios: list[float | None] = []
    mean_g = mean_s = mean_gg = weight = weight_sq = 0.0
    for g, s in zip(sq_norm, trace, strict=True):
        mean_g, mean_s = decay * mean_g + (1 - decay) * g, decay * mean_s + (1 - decay) * s
        mean_gg = decay * mean_gg + (1 - decay) * g * g
        weight, weight_sq = decay * weight + (1 - decay), decay**2 * weight_sq + (1 - decay) ** 2
        # Bias of the start as in Adam; the effective number of steps is weight^2 / weight_sq.
        variance = max(mean_gg / weight - (mean_g / weight) ** 2, 0.0)
        error = np.sqrt(variance * weight_sq) / weight
        determined = weight_sq < weight**2 and mean_g / weight > 2 * error
        ratios.append(float(mean_s / mean_g) if determined else None)
    return ratios
