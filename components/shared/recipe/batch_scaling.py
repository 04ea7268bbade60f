"""How settings follow the batch size B, given the gradient noise scale B_noise in examples.

Sources: McCandlish et al., 2018, arXiv:1812.06162, eq. 2.6 (rate) and 2.11 (steps). The exponent
is ours: `make bench-probe` fits it on real sets.
"""

import dataclasses
import math

from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters

__all__ = ["EXPONENT", "halve_batch", "scale_learning_rate", "scale_steps", "scale_weight_decay"]

# alpha of the rate, for SGD, AdamW and LAMB alike: the theory's 1 is that of a quadratic bowl.
EXPONENT = 0.75


def _noise_ratio(batch: float, new_batch: float, noise_scale: float | None) -> float:
    """Returns (1 + B_noise/batch) / (1 + B_noise/new_batch); an unknown scale is far above both."""
    if noise_scale is None:
        return new_batch / batch
    return (1 + noise_scale / batch) / (1 + noise_scale / new_batch)


def scale_learning_rate(
    learning_rate: float, batch: int, new_batch: int, noise_scale: float | None
) -> float:
    """Returns eta(new_batch) = eta [(1 + B_noise/batch) / (1 + B_noise/new_batch)]^alpha.

    Args:
        learning_rate: eta, found at `batch`.
        batch: Images a step there.
        new_batch: Images a step now.
        noise_scale: B_noise; None when it is unknown, and then taken to be far above both batches.
    """
    return learning_rate * math.pow(_noise_ratio(batch, new_batch, noise_scale), EXPONENT)


def scale_steps(steps: int, batch: int, new_batch: int, noise_scale: float | None) -> int:
    """Returns the steps to the same loss: S(B) = S_min (1 + B_noise/B)."""
    return max(2, round(steps / _noise_ratio(batch, new_batch, noise_scale)))


def scale_weight_decay(
    weight_decay: float, learning_rate: float, steps: int, new_rate: float, new_steps: int
) -> float:
    """Returns the decay that keeps eta x lambda x steps, the shrinkage of the whole training."""
    return weight_decay * (learning_rate * steps) / (new_rate * new_steps)


def halve_batch(settings: Hyperparameters, noise_scale: float | None) -> Hyperparameters:
    """Returns settings that see the same images in batches of half the size."""
    batch_size = settings.batch_size // 2
    return dataclasses.replace(
        settings,
        batch_size=batch_size,
        learning_rate=scale_learning_rate(
            settings.learning_rate,
            settings.batch_size,
            batch_size,
            noise_scale,
        ),
        steps=2 * settings.steps,
        warmup_steps=2 * settings.warmup_steps,
    )
