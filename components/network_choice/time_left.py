"""How long a training of a network may be, within what the stages after it leave of the budget."""

import dataclasses

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.closing_times import closing_seconds

__all__ = ["ACCELERATED_PER_SECOND", "TRAINED_PER_SECOND", "TimeLeft"]

# Multiply-adds a second of a training step on two idle cores; forwards alone take as many. What a
# network may cost is counted by them, so that the load of a machine does not change it.
TRAINED_PER_SECOND = 3e10
# The same on an accelerator: a cautious guess for the smallest ones, not a measurement.
ACCELERATED_PER_SECOND = 2e11
# Of what remains when the choice begins.
_CHOICE_SHARE = 0.25
# Passes over the training images that a size has to leave time for: a rule of thumb.
_LEAST_EPOCHS = 4


@dataclasses.dataclass(frozen=True)
class TimeLeft:
    """What the budget leaves to a training.

    Attributes:
        info: Of the dataset.
        seconds: That remain when the choice begins.
        start_up_s: Of a task that trains.
        per_second: Multiply-adds of a training step.
    """

    info: DatasetInfo
    seconds: float
    start_up_s: float
    per_second: float = TRAINED_PER_SECOND

    def training_seconds(self, multiply_adds: int) -> float:
        """Returns what is left when the pretrained network has been evaluated and exported.

        Args:
            multiply_adds: Of one image, in inference.
        """
        forward_s = multiply_adds / self.per_second
        closing_s = closing_seconds(self.info, self.start_up_s, forward_s, num_large=1)
        return max(0.0, (1 - _CHOICE_SHARE) * self.seconds - closing_s)

    def epochs(self, multiply_adds: int) -> float:
        """Returns for how many epochs there is time; infinite where time is no limit."""
        # Forwards, and twice as much backwards.
        image_s = 3 * multiply_adds / self.per_second
        return self.training_seconds(multiply_adds) / (self.info.splits["train"] * image_s)

    def can_tune(self, multiply_adds: int) -> bool:
        """Returns whether there is time to fine-tune a network for four epochs."""
        return self.epochs(multiply_adds) >= _LEAST_EPOCHS
