"""Features of a frozen network: its graph in ONNX Runtime, the fastest on a CPU.

Shapes: images uint8 [B, H, W, K], features float32 [B, F], the means of the last feature map.
"""

import functools
import hashlib

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from kfp_vision.components.shared.architectures.graph_cache import load_graph
from kfp_vision.components.shared.architectures.onnx_graph import INPUT, convert_to_onnx
from kfp_vision.components.shared.architectures.weights_cache import default_folder
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES
from kfp_vision.components.shared.runtime.code_version import code_digest

__all__ = ["FrozenBackbone", "build_backbone", "open_backbone"]

_CHANNELS = 3
# Pixels that go through at once: 10 images of 224 px, whose widest map stays near the cache. Forty
# at once took 8 % more CPU time an image and, on two busy cores, twice the time.
_BATCH_PIXELS = 2**19


def build_backbone(name: str, size: tuple[int | None, int | None] = (None, None)) -> keras.Model:
    """Returns a network of the zoo without a head: pixels [B, H, W, 3] 0..255 -> features [B, F].

    Args:
        name: A key of `ARCHITECTURES`, of a network with weights.
        size: (height, width); None for any.

    Raises:
        ConnectionError, ModuleNotFoundError: The weights are out of reach.
    """
    pixels = keras.Input((*size, _CHANNELS), name="pixels")
    features = ARCHITECTURES[name].build_features(pixels, 0.0)
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(features)
    return keras.Model(pixels, pooled, name=name)


class FrozenBackbone:
    """A network whose weights do not change, as a function of images of any size.

    ONNX Runtime folds each BatchNormalization and ReLU into the convolution before it.
    `make bench-frozen_features` on two idle cores, each at its best batch size: 2.1 (224 px) and
    3.9 (64 px) times the images/s of keras.Model.predict; LiteRT 1.9 and 3.8, a TensorFlow graph
    with constant weights 1.5 and 2.8.

    Attributes:
        name: A key of `ARCHITECTURES`.
        min_size: Pixels a side that images must have.
        auto_size: Pixels a side that the weights were trained for.
        num_features: F.
        digest: SHA-256 (hex) of the weights and of this package's code.
    """

    def __init__(self, name: str) -> None:
        """Builds the network.

        Args:
            name: A key of `ARCHITECTURES`, of a network with weights.

        Raises:
            ConnectionError, ModuleNotFoundError: The weights are out of reach.
        """
        row = ARCHITECTURES[name]
        self.name, self.min_size, self.auto_size = name, row.min_size, row.auto_size
        self._model = build_backbone(name)
        self.num_features = int(self._model.output_shape[-1])
        digest = hashlib.sha256(f"{name} {code_digest()}".encode())
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
        if channels not in (1, _CHANNELS) or min(height, width) < self.min_size:
            raise ValueError(
                f"Images must have 1 or {_CHANNELS} channels and at least {self.min_size} pixels a "
                f"side for `{self.name}`. Received: shape {images.shape}. Resize them, convert "
                "them to RGB."
            )
        features = np.empty((len(images), self.num_features), np.float32)
        size = max(1, _BATCH_PIXELS // (height * width))
        for start in range(0, len(images), size):
            features[start : start + size] = self._forward(images[start : start + size])
        return features

    def _forward(self, images: np.ndarray) -> np.ndarray:
        rgb = np.broadcast_to(images, (*images.shape[:3], _CHANNELS))
        features: np.ndarray = self._session.run(None, {INPUT: rgb})[0]
        return features

    @functools.cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        # Threads that wait for work by spinning take 5 to 20 % more CPU time, and save none.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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


@functools.cache
def open_backbone(name: str) -> FrozenBackbone:
    """Returns the frozen network of a name, built once in a process."""
    return FrozenBackbone(name)
