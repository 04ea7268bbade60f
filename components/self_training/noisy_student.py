"""Noisy student: soft labels of a teacher that sees images as they are, a student that does not.

Of images that have a label it alone is learned. Source: Xie et al., 2020, arXiv:1911.04252,
algorithm 1. Shapes: N images, C classes.
"""

import numpy as np

from kfp_vision.components.self_training.arm import Arm
from kfp_vision.components.shared.recipe.unlabeled import LABELLED_SHARE
from kfp_vision.components.shared.training.soft_targets import Teaching
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["NOISY_STUDENT", "balance"]

NOISY_STUDENT = Arm("noisy student", Teaching(label_share=1.0), Trainer, LABELLED_SHARE)


def balance(
    probabilities: np.ndarray,
    shares: np.ndarray,
    rows: np.ndarray,
    class_weights: np.ndarray | None,
) -> np.ndarray:
    """Returns probabilities by which some images have the classes in the shares of the labels.

    Each class is multiplied by its share over the mean of what is said of it (distribution
    alignment: Berthelot et al., 2020, arXiv:1911.09785, section 3.1). Images are not repeated, as
    Xie et al. do: soft labels keep what is said of every class.
    A model whose training weights the classes says w_c times as much of each as its images show.
    That is taken out of the mean, as the shares do not have it, and stays in what is returned.

    Args:
        probabilities: Of all images, [N, C].
        shares: Of the classes among the labels, [C].
        rows: The images whose mean counts, int.
        class_weights: w, of the training, [C]; None for none.
    """
    said = probabilities[rows]
    if class_weights is not None:
        said = said / np.maximum(class_weights, 1e-6)
        said /= said.sum(axis=1, keepdims=True)
    weighted = probabilities * (shares / np.maximum(said.mean(axis=0), 1e-6))
    balanced: np.ndarray = weighted / np.maximum(weighted.sum(axis=1, keepdims=True), 1e-12)
    return balanced
