"""FixMatch: a network is its own teacher, step by step, where it is sure.

What it holds likeliest of an image as it is, at a probability of 0.9 and more, is the label of the
image augmented; three images without labels to one with. Source: Sohn et al., 2020,
arXiv:2001.07685, section 2.2. Shapes: images uint8 [B, H, W, K].
"""

import tensorflow as tf

from kfp_vision.components.self_training.arm import Arm
from kfp_vision.components.shared.training.soft_targets import Teaching
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["FIXMATCH", "SelfTaughtTrainer"]


class SelfTaughtTrainer(Trainer):
    """A trainer whose teacher, in every step, is the model as it is."""

    def _train_step(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Before the tape of the step: no gradient goes through what is taught.
        return super()._train_step(
            images, {**targets, "teacher": self._infer(images)}, learning_rate
        )


FIXMATCH = Arm("FixMatch", Teaching(label_share=1.0, threshold=0.9), SelfTaughtTrainer, 0.25)
