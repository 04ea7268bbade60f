"""How far a transform moves the images, and magnitudes of equal distance.

Shapes: N images, F features, M magnitudes of one transform.
Source: Heusel et al., 2017, arXiv:1706.08500, eq. 6 (Frechet distance, here with diagonal
covariances and the features of the model at hand).
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression

__all__ = ["equal_levels", "frechet_distance", "null_distance"]


def frechet_distance(features: np.ndarray, clean: np.ndarray) -> float:
    """Returns |dmu|^2 + |dsigma|^2 per feature, both sets whitened by the clean statistics.

    Args:
        features: [N, F].
        clean: [N', F]; features that do not vary in it are left out.
    """
    spread = clean.std(axis=0)
    alive = spread > 1e-6 * spread.max()
    if not alive.any():
        raise ValueError("The features of the clean images must vary. Received: constants")
    whitened = (features[:, alive] - clean[:, alive].mean(axis=0)) / spread[alive]
    mean, deviation = whitened.mean(axis=0), whitened.std(axis=0)
    return float((mean**2).mean() + ((deviation - 1) ** 2).mean())


def null_distance(clean: np.ndarray, seed: int, repeats: int = 16) -> float:
    """Returns the largest distance between two random halves of [N, F]: that of no transform."""
    generator = np.random.default_rng(seed)
    distances = []
    for _ in range(repeats):
        order = generator.permutation(len(clean))
        half = len(clean) // 2
        distances.append(frechet_distance(clean[order[:half]], clean[order[half:]]))
    return max(distances)


def equal_levels(magnitudes: np.ndarray, distances: np.ndarray, targets: np.ndarray) -> list[float]:
    """Returns for each target distance the magnitude that has it, the greatest for those beyond.

    The distances are made monotone first (isotonic regression) and start with 0 at magnitude 0.

    Args:
        magnitudes: Rising, [M].
        distances: [M].
        targets: Distances.
    """
    x, y = np.r_[0.0, magnitudes], np.r_[0.0, distances]
    weights = np.r_[1e6, np.ones(len(magnitudes))]
    monotone = IsotonicRegression().fit_transform(x, y, sample_weight=weights)
    # A flat piece has no inverse; its first magnitude stands for it.
    rising = np.r_[True, np.diff(monotone) > 1e-12]
    found = np.interp(targets, monotone[rising], x[rising])
    return [
        float(magnitude) if target <= monotone[-1] else float(magnitudes[-1])
        for magnitude, target in zip(found, targets, strict=True)
    ]
