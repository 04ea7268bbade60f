"""Trials: a few steps from a common checkpoint on few images, scored by the validation loss.

A trial trains on a quarter of the images or fewer, so that the model sees each of them several
times: what a technique does against learning by heart shows in a twentieth of the steps after which
it would show on all images. All trials of one seed share the checkpoint, the images and the random
numbers, so that what differs between them is the technique.
"""

import dataclasses

import numpy as np

from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.data import LabelledImages
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["TrialRunner", "subset_size"]

_STEPS_PER_CALL = 16
_LARGEST_VALIDATION = 2048
# Passes over the images of a trial.
_EPOCHS = 4


def subset_size(num_images: int, steps: int, batch_size: int) -> int:
    """Returns how many images a trial trains on: it sees each of them four times."""
    return max(1, min(num_images, steps * batch_size // _EPOCHS))


@dataclasses.dataclass
class TrialRunner:
    """One process with one compiled step for every trial.

    Attributes:
        trainer: Was made with a policy.
        task: Its loss scores a trial.
        start: State of the trainer at the checkpoint.
        train: A trial takes a part of them, by its seed.
        validation: At most 2,048 of them score it.
        steps: Of one trial.
        learning_rate: At the start of a trial; falls to 0 along a line.
        batch_size: Images a step.
    """

    trainer: Trainer
    task: Task
    start: list[np.ndarray]
    train: LabelledImages
    validation: LabelledImages
    steps: int
    learning_rate: float
    batch_size: int

    @property
    def images_per_trial(self) -> int:
        """Returns how many images one trial sees."""
        return self.steps * self.batch_size + min(_LARGEST_VALIDATION, len(self.validation))

    def run(self, policy: Policy, label_smoothing: float, seed: int) -> float | None:
        """Returns the mean validation loss in nats, None when it is not finite."""
        self.trainer.restore(self.start)
        self.trainer.regularise(policy, label_smoothing)
        count = subset_size(len(self.train), self.steps, self.batch_size)
        chosen = np.random.default_rng(seed).permutation(len(self.train))[:count]
        order = BatchOrder(count, self.batch_size, seed)
        for step in range(0, self.steps, _STEPS_PER_CALL):
            at = np.arange(step, min(step + _STEPS_PER_CALL, self.steps))
            rates = self.learning_rate * (1 - at / self.steps)
            images, targets = self.train.take(chosen[order.indices(step, len(at))])
            self.trainer.run_steps(images, targets, rates.astype(np.float32))
        indices = np.arange(min(_LARGEST_VALIDATION, len(self.validation)))
        losses = []
        for part in np.array_split(indices, max(1, len(indices) // 512)):
            images, targets = self.validation.take(part)
            losses.append(np.asarray(self.task.loss(targets, self.trainer.logits(images))))
        loss = float(np.concatenate(losses).mean())
        return loss if np.isfinite(loss) else None
