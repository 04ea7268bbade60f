"""What flips and shifts are said to do, from the losses of two trials on the same images."""

import numpy as np
import pytest

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.comparing import Compared
from kfp_vision.components.network_choice.trials import TrialResult
from kfp_vision.components.shared.recipe.document import Recipe

LOSSES = np.array([1.0, 2.0, 3.0, 4.0])


def compared(changes):
    plain = TrialResult(LOSSES, 64, 1.0, 0.01, 100)
    augmented = TrialResult(LOSSES + np.array(changes), 64, 1.0, 0.01, 100)
    candidate = Candidate("efficientnet_lite0_imagenet", 32, 32, "all", "pretrained")
    return Compared(candidate, Recipe(), [plain, plain], augmented)


@pytest.mark.parametrize(
    ("changes", "is_used"),
    [
        ([-0.4, -0.2, -0.4, -0.2], True),
        # 0.1 in the mean, with a standard error of 0.147.
        ([-0.2, 0.4, -0.1, 0.3], True),
        ([0.4, 0.2, 0.4, 0.2], False),
    ],
)
def test_flips_and_shifts_are_used_unless_they_harm(changes, is_used):
    found = compared(changes).augmentation
    assert found.change == pytest.approx(np.mean(changes))
    assert found.error == pytest.approx(np.std(changes, ddof=1) / 2)
    assert found.is_used is is_used


def test_a_trial_that_diverged_says_nothing():
    assert compared([0.0, np.nan, 0.0, 0.0]).augmentation is None


def test_the_images_of_all_trials_count():
    assert compared([0.0, 0.0, 0.0, 0.0]).num_images == 3 * 64
