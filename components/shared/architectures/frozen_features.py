"""Features of a frozen network: its graph in ONNX Runtime, the fastest on a CPU.

A model file of the user runs in Keras, which is sure to know all of its layers.

Shapes: images uint8 [B, H, W, K], features float32 [B, F], the means of the last feature map.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from kfp_vision.components.shared.architectures.graph_cache import load_graph
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.architectures.onnx_graph import INPUT, convert_to_onnx
from kfp_vision.components.shared.architectures.user_head import new_head_input
from kfp_vision.components.shared.architectures.user_model import load_user_model
from kfp_vision.components.shared.architectures.weights_cache import default_folder
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, USER_AUTO_SIZE
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.identity import architecture_digest
from kfp_vision.components.shared.runtime.processes import usable_cpus

__all__ = ["FrozenBackbone", "build_backbone", "open_backbone"]

_CHANNELS = 3
# Pixels that go through a core at once: 10 images of 224 px, whose widest map stays near the cache.
# Forty at once took 8 % more CPU time an image and, on two busy cores, twice the time.
_BATCH_PIXELS = 2**19


def build_backbone(name: str, size: tuple[int | None, int | None] = (None, None)) -> keras.Model:
    """Returns a network without a head: pixels [B, H, W, K] 0..255 -> features [B, F].

    Args:
        name: A key of `ARCHITECTURES`, of a network with weights; or the URI of a model file.
        size: (height, width); None for any. A file keeps its own.

    Raises:
        ValueError: The file cannot be used.
        StorageError: The file cannot be reached.
        ConnectionError, ModuleNotFoundError: The weights are out of reach.
    """
    if is_user_model(name):
        body = load_user_model(name)
        pixels, features = body.inputs[0], new_head_input(body)
    else:
        pixels = keras.Input((*size, _CHANNELS), name="pixels")
        features = ARCHITECTURES[name].build_features(pixels, 0.0)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="features")(features)
    return keras.Model(pixels, features)


class FrozenBackbone:
    """A network whose weights do not change, as a function of images of any size.

    ONNX Runtime folds each BatchNormalization and ReLU into the convolution before it. Every core
    computes images of its own: cores that share each operation wait for each other, which took a
    fifth more CPU time, and a third more time on two busy cores.
    `make bench-frozen_features` on two idle cores, each at its best batch size: 2.1 (224 px) and
    3.9 (64 px) times the images/s of keras.Model.predict; LiteRT 1.9 and 3.8, a TensorFlow graph
    with constant weights 1.5 and 2.8.

    Attributes:
        name: A key of `ARCHITECTURES`, or the URI of a model file.
        min_size: Pixels a side that images must have.
        auto_size: Pixels a side that the weights were trained for.
        num_features: F.
        digest: SHA-256 (hex) of the weights, or of the model file, and of this package's code.
    """

    def __init__(self, name: str, is_shuffled: bool = False) -> None:
        """Builds the network.

        Args:
            name: As of `build_backbone`.
            is_shuffled: Whether every kernel holds its weights in another order, drawn once for
                all: they are spread as before and know nothing.

        Raises:
            ValueError: The file cannot be used.
            StorageError: The file cannot be reached.
            ConnectionError, ModuleNotFoundError: The weights are out of reach.
        """
        self.name, self._is_file = name, is_user_model(name)
        self._model = build_backbone(name)
        self._channels, self.num_features = (
            int(tensor.shape[-1]) for tensor in (self._model.inputs[0], self._model.outputs[0])
        )
        if is_shuffled:
            _shuffle_kernels(self._model)
        content = f"{architecture_digest(name)} {code_digest()} {is_shuffled}"
        digest = hashlib.sha256(content.encode())
        if self._is_file:
            self.min_size, self.auto_size = 1, USER_AUTO_SIZE
        else:
            row = ARCHITECTURES[name]
            self.min_size, self.auto_size = row.min_size, row.auto_size
            for array in self._model.get_weights():
                digest.update(np.ascontiguousarray(array).data)
        self.digest = digest.hexdigest()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the features, float32 [B, F].

        Args:
            images: uint8 [B, H, W, K]; K = 1 is gray and becomes RGB.

        Raises:
            ValueError: The images have another number of channels or are too small.
        """
        _, height, width, channels = images.shape
        possible = sorted({1, self._channels})
        if channels not in possible or min(height, width) < self.min_size:
            raise ValueError(
                f"Images must have {' or '.join(map(str, possible))} channels and at least "
                f"{self.min_size} pixels a side for `{self.name}`. "
                f"Received: shape {images.shape}. Resize them, convert them to RGB or gray."
            )
        features = np.empty((len(images), self.num_features), np.float32)
        run, threads = self._run, 1 if self._is_file else len(usable_cpus())
        size = max(1, min(_BATCH_PIXELS // (height * width), math.ceil(len(images) / threads)))

        def forward(start: int) -> None:
            part = images[start : start + size]
            pixels = np.broadcast_to(part, (*part.shape[:3], self._channels))
            features[start : start + size] = run(pixels)

        with ThreadPoolExecutor(threads, thread_name_prefix="features") as pool:
            for _ in pool.map(forward, range(0, len(images), size)):
                pass
        return features

    @functools.cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        if self._is_file:
            return self._keras_graph()
        session = self._session()

        def run(pixels: np.ndarray) -> np.ndarray:
            features: np.ndarray = session.run(None, {INPUT: pixels})[0]
            return features

        return run

    def _keras_graph(self) -> Callable[[np.ndarray], np.ndarray]:
        signature = tf.TensorSpec((None, *self._model.inputs[0].shape[1:]), tf.uint8)
        graph: Callable[[np.ndarray], tf.Tensor] = tf.function(
            lambda pixels: self._model(tf.cast(pixels, tf.float32), training=False),
            input_signature=[signature],
            autograph=False,
        )
        return lambda pixels: np.asarray(graph(pixels))

    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        folder = default_folder()
        graph = load_graph(folder and folder / f"{self.name}.onnx", self.digest, self._convert)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _convert(self) -> bytes:
        converted = convert_to_onnx(
            lambda pixels: [self._model(tf.cast(pixels, tf.float32), training=False)],
            (None, None, _CHANNELS),
            tf.uint8,
            ["features"],
        )
        graph: bytes = converted.SerializeToString()
        return graph


def _shuffle_kernels(model: keras.Model) -> None:
    random = np.random.default_rng(0)
    for weight in model.weights:
        # Scales, offsets and statistics of norms keep their place.
        if len(weight.shape) > 1:
            values = np.array(weight)
            weight.assign(random.permutation(values.ravel()).reshape(values.shape))


def open_backbone(name: str, is_shuffled: bool = False) -> FrozenBackbone:
    """Returns the frozen network of a name, built once in a process as long as a file is the same.

    Args:
        name: As of `build_backbone`.
        is_shuffled: As of `FrozenBackbone`.
    """
    return _open(name, is_shuffled, architecture_digest(name))


@functools.cache
def _open(name: str, is_shuffled: bool, _: str) -> FrozenBackbone:
    return FrozenBackbone(name, is_shuffled)
