"""What the fit of a linear layer costs, for it and for those who plan its time."""

__all__ = ["FITTED_PER_SECOND", "ITERATIONS", "PENALTIES", "fit_multiply_adds"]

# Strongest first: each fit starts from the one before.
PENALTIES = (1.0, 0.1, 0.01, 0.001)
ITERATIONS = 15
# Fits on all but a fifth of the images, which choose the penalty, come on top.
_WITH_FOLD = 1.8

# Multiply-adds of a fit on one core, which its solver keeps to: 20,000 images, 1,280 features and
# 1,000 classes took 3.1 CPU seconds an iteration, beside other work.
FITTED_PER_SECOND = 1.6e10


def fit_multiply_adds(num_features: int, num_classes: int, has_fold: bool = True) -> int:
    """Returns the multiply-adds of an image in a whole fit, at most.

    Every iteration computes logits and their gradient. 1,000 classes on 1,280 features cost what a
    pass through EfficientNet-Lite0 costs at 190 px.

    Args:
        num_features: F.
        num_classes: C.
        has_fold: Whether a fold of the images chooses the penalty; several do of few images.
    """
    passes = 2 * len(PENALTIES) * ITERATIONS * (_WITH_FOLD if has_fold else 1)
    return round(passes * num_features * num_classes)
