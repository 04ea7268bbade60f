"""Every image of a split through a model, in batches; B images of [H, W, K] pixels."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks import Outputs, Targets

__all__ = ["Infer", "SplitOutputs", "compile_inference"]

Infer = Callable[[np.ndarray], Outputs]
# Logits of a million images of 100 classes; of large maps, those of a few hundred images.
_KEPT_BYTES = 400 * 2**20


def compile_inference(model: keras.Model) -> Infer:
    """Returns uint8 [B, H, W, K] -> outputs as arrays, compiled once for every B."""
    call = tf.function(
        lambda images: model(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)],
        autograph=False,
    )
    return lambda images: tf.nest.map_structure(np.asarray, call(images))


class SplitOutputs:
    """Targets and outputs of all images of a split, batch by batch, as often as they are wanted.

    The outputs are kept for the next time where they are small, else computed again.
    """

    def __init__(self, infer: Infer, images: LabelledImages, rows: np.ndarray, stage: str) -> None:
        """Computes nothing yet.

        Args:
            infer: Outputs of a batch of uint8 images.
            images: The split; only a batch at a time is taken out.
            rows: Which of its images, in which order; at least one.
            stage: What the progress lines are called.
        """
        self._infer, self._images, self._rows, self._stage = infer, images, rows, stage
        self._kept: list[tuple[Targets, Outputs]] | None = None

    def __iter__(self) -> Iterator[tuple[Targets, Outputs]]:
        """Yields targets and outputs, [B, ...]."""
        if self._kept is not None:
            yield from self._kept
            return
        done, num_bytes = 0, 0
        kept: list[tuple[Targets, Outputs]] = []
        with Progress(self._stage, len(self._rows), "images") as progress:
            for pixels, targets in self._images.batches(self._rows):
                outputs = self._infer(pixels)
                arrays = [*targets.values(), *tf.nest.flatten(outputs)]
                num_bytes += sum(array.nbytes for array in arrays)
                kept.append((targets, outputs))
                if num_bytes > _KEPT_BYTES:
                    kept.clear()
                done += len(pixels)
                progress.update(done)
                yield targets, outputs
        if num_bytes <= _KEPT_BYTES:
            self._kept = kept
