"""Measures how fast engines run a frozen backbone: images/s, of each in turn, in one process.

python tests/benchmarks/bench_frozen_features.py [--threads N] [--sizes 224 64] [--turns 5]

`keras` is keras.Model.predict with the batch size given, `constants` the TensorFlow graph with
weights as constants, `frozen` what kfp-vision uses: ONNX Runtime, in batches of `batch_size` images
where that is fewer than it takes at once. XLA, the slowest by far, is measured on a few images.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kfp_vision.components.evaluation.formats import FORMATS, ExportSource
from kfp_vision.components.shared.architectures.frozen_features import (
    build_backbone,
    open_backbone,
)
from kfp_vision.components.shared.training.inference import compile_inference

NAME = "efficientnet_lite0_imagenet"
BATCH_SIZES = (1, 8, 32, 64)
# Of a turn; fewer than a batch are one batch.
IMAGES = {"xla": 8, 224: 64, 64: 512}

Infer = Callable[[np.ndarray], np.ndarray]


def freeze(model: keras.Model) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Returns the graph with weights as constants: TensorFlow folds layers into convolutions."""
    call = tf.function(
        lambda images: model(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    return convert_variables_to_constants_v2(call.get_concrete_function())


def open_engines(model: keras.Model, folder: Path) -> dict[str, Infer]:
    """Returns name -> images uint8 [B, H, W, 3] -> features."""
    source = ExportSource(model, np.empty(0), folder / FORMATS["saved_model"].path)
    for name in ("saved_model", "onnx", "tflite"):
        FORMATS[name].write(source, folder / FORMATS[name].path)
    constants = freeze(model)
    xla = tf.function(lambda images: model(tf.cast(images, tf.float32)), jit_compile=True)
    return {
        "keras": lambda images: model.predict(images, batch_size=len(images), verbose=0),
        "tf.function": compile_inference(model),
        "constants": lambda images: np.asarray(constants(tf.constant(images))[0]),
        "xla": lambda images: np.asarray(xla(images)),
        "onnxruntime": FORMATS["onnx"].open(folder / FORMATS["onnx"].path),
        "litert": FORMATS["tflite"].open(folder / FORMATS["tflite"].path),
        "frozen": open_backbone(NAME),
    }


def measure(engines: dict[str, Infer], size: int, batch_size: int, turns: int) -> dict[str, float]:
    """Returns the median images/s of each engine; they take turns, as the load of a machine does.

    Raises:
        AssertionError: An engine gives other features than Keras.
    """
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch_size, size, size, 3)).astype(np.uint8)
    expected = engines["keras"](images)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for infer in engines.values():
        np.testing.assert_allclose(infer(images), expected, atol=1e-3)
    for _ in range(turns):
        for name, infer in engines.items():
            calls = max(1, IMAGES.get(name, IMAGES.get(size, 64)) // batch_size)
            started = time.perf_counter()
            for _ in range(calls):
                infer(images)
            seconds[name].append((time.perf_counter() - started) / calls / batch_size)
    return {name: round(1 / statistics.median(each), 1) for name, each in seconds.items()}


def main() -> None:
    """Prints a line for each size and batch size, and the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 64])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    found: dict[int, dict[int, dict[str, float]]] = {}
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            engines = open_engines(build_backbone(NAME, (size, size)), Path(folder))
        for batch_size in given.batch_sizes:
            speeds = measure(engines, size, batch_size, given.turns)
            found.setdefault(size, {})[batch_size] = speeds
            print(f"{size} px, batch of {batch_size}: {speeds} images/s", flush=True)
    # Each at the batch size that suits it.
    best = {
        size: {name: max(speeds[name] for speeds in held.values()) for name in engines}
        for size, held in found.items()
    }
    ratio = {size: round(each["frozen"] / each["keras"], 2) for size, each in best.items()}
    print("RESULT " + json.dumps({"ratio_to_keras": ratio, "best": best, "images_per_s": found}))


if __name__ == "__main__":
    main()
