"""Every image of a split through a model, in batches; B images, [H, W, K] pixels, C outputs."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["Infer", "compile_inference", "run_batches", "with_probabilities"]

Infer = Callable[[np.ndarray], np.ndarray]


def with_probabilities(model: keras.Model, temperature: float, multilabel: bool) -> keras.Model:
    """Returns the model with calibrated probabilities instead of logits as its output.

    Only layers of Keras are added, so that `safe_mode` loads the file without our code.
    """
    logits = keras.layers.Rescaling(1.0 / temperature, dtype="float32", name="temperature")(
        model.outputs[0]
    )
    activation = "sigmoid" if multilabel else "softmax"
    probabilities = keras.layers.Activation(activation, dtype="float32", name="probabilities")(
        logits
    )
    return keras.Model(model.inputs[0], probabilities, name=model.name)


def compile_inference(model: keras.Model) -> Infer:
    """Returns uint8 [B, H, W, K] -> float32 [B, C], compiled once for every B."""
    call = tf.function(
        lambda images: model(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)],
    )
    return lambda images: call(images).numpy()


def run_batches(infer: Infer, source: ImageSource, indices: np.ndarray, stage: str) -> np.ndarray:
    """Returns the outputs of the images at `indices`, float32 [len(indices), C].

    Args:
        infer: Outputs of a batch of uint8 images.
        source: Images; only a batch at a time is taken out.
        indices: Which, in which order; at least one.
        stage: What the progress lines are called.
    """
    progress, outputs = Progress(stage, len(indices), "images"), []
    for start in range(0, len(indices), source.images_per_batch):
        batch = indices[start : start + source.images_per_batch]
        outputs.append(infer(source.take(batch)))
        progress.update(start + len(batch))
    return np.concatenate(outputs)
