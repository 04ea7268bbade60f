"""What one H100 should reach, by counting: operations, bytes and launches of a training step.

No GPU is needed, and none is measured: the least time of every operation is the longer of its
arithmetic and its memory traffic (the roofline of Williams et al., 2009, CACM 52(4)), and a step
takes the sum of them. Two ways to run the same step are counted:

- `unfused`: the operations of the traced graph, each with its inputs and outputs, one launch each;
- `fused`: what XLA can make of it at best: scaling, activations, additions and dropout cost nothing
  beside the convolution or normalisation before them, and no launch is waited for.

The other side of the loop is measured here: images that one core decodes, or reads from the cache.

Prints `RESULT {json}`: architecture -> batch size -> way -> figures; `host` -> images/s of a core.
"""

import argparse
import io
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.datasets.image_cache import CachedImages
from kfp_vision.components.shared.datasets.loader import fit_image
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import from_recipe, resolve
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.trainer import Trainer

SIDE, CLASSES = 224, 10
ARCHITECTURES = ("separable", "efficientnet_lite0")
BATCH_SIZES = (64, 512)
# H100 SXM5, data sheet: bfloat16 in tensor cores (dense), float32 outside of them, HBM3, PCIe 5.
TENSOR_FLOPS, PLAIN_FLOPS, MEMORY_BYTES_S, LINK_BYTES_S = 989e12, 67e12, 3.35e12, 63e9
# What TensorFlow's executor takes for a kernel at best.
LAUNCH_S = 5e-6
# Depthwise convolutions do not fit tensor cores.
MATRIX = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul")
DEPTHWISE = (
    "DepthwiseConv2dNative",
    "DepthwiseConv2dNativeBackpropInput",
    "DepthwiseConv2dNativeBackpropFilter",
)
# Views, metadata and what happens before the step: no kernel.
FREE = {"Const", "Placeholder", "Identity", "IdentityN", "ReadVariableOp", "Shape", "ShapeN"}
FREE |= {"Reshape", "Squeeze", "ExpandDims", "NoOp", "StopGradient", "BroadcastGradientArgs"}
FUSED = (
    keras.layers.Rescaling,
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Dropout,
    keras.layers.ZeroPadding2D,
)


def flat_layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model and of the models within it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flat_layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def multiply_adds(layer: keras.layers.Layer) -> int:
    """Returns the multiplications of a layer for one image in inference."""
    if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return math.prod(layer.kernel.shape) if isinstance(layer, keras.layers.Dense) else 0
    height, width = layer.output.shape[1:3]
    return int(height * width * math.prod(layer.kernel.shape))


def least_seconds(operations: float, num_bytes: float, is_matrix: bool) -> float:
    """Returns the roofline of one kernel."""
    flops = TENSOR_FLOPS if is_matrix else PLAIN_FLOPS
    return max(operations / flops, num_bytes / MEMORY_BYTES_S)


def count_fused(model: keras.Model, batch_size: int) -> dict[str, float]:
    """Returns operations, bytes and least seconds of a step, from the layers of the model.

    A convolution reads its input and writes its output (I + O), and backwards reads the gradient
    twice and the input once and writes the gradient of the input (2 O + 2 I). Statistics take
    another pass of a normalisation, forwards and backwards (2 I + O, 3 I + 2 O).
    """
    total = {"operations": 0.0, "bytes": 0.0, "seconds": 0.0}
    for layer in flat_layers(model):
        if isinstance(layer, FUSED):
            continue
        inputs, outputs = (
            2 * batch_size * sum(math.prod(each.shape[1:]) for each in tf.nest.flatten(tensors))
            for tensors in (layer.input, layer.output)
        )
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        num_bytes = (5 if is_norm else 3) * inputs + 3 * outputs
        # Each gradient, that of the input and that of the weights, is as much as the output.
        operations = 3 * 2 * multiply_adds(layer) * batch_size
        matrix = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        total["operations"] += operations
        total["bytes"] += num_bytes
        total["seconds"] += least_seconds(operations, num_bytes, matrix)
    # Gradient (norm, clipping, use), two moments, weight and average, in float32.
    update = 4 * 13 * sum(math.prod(each.shape) for each in model.trainable_weights)
    total["bytes"] += update
    total["seconds"] += update / MEMORY_BYTES_S
    return total


def count_unfused(trainer: Trainer, batch_size: int) -> dict[str, float]:
    """Returns operations, bytes, launches and least seconds of a step, from its traced graph."""
    images = tf.TensorSpec((batch_size, SIDE, SIDE, 3), tf.uint8)
    targets = {"label": tf.TensorSpec((batch_size,), tf.int32)}
    step = tf.function(trainer._train_step).get_concrete_function(
        images, targets, tf.TensorSpec((), tf.float32)
    )
    total = {"operations": 0.0, "bytes": 0.0, "seconds": 0.0, "launches": 0.0}
    for node in step.graph.get_operations():
        if node.type in FREE:
            continue
        num_bytes = sum(_bytes_of(each) for each in [*node.inputs, *node.outputs])
        operations = _operations_of(node)
        total["operations"] += operations
        total["bytes"] += num_bytes
        total["launches"] += 1
        total["seconds"] += least_seconds(operations, num_bytes, node.type in MATRIX)
    return total


def _bytes_of(tensor: tf.Tensor) -> int:
    if tensor.dtype == tf.resource or tensor.shape.num_elements() is None:
        return 0
    return int(tensor.shape.num_elements() * tensor.dtype.size)


def _operations_of(node: Any) -> float:
    """Returns the operations of a convolution, its gradients or a product; 0 for all others."""
    if node.type not in (*MATRIX, *DEPTHWISE):
        return 0.0
    if node.type == "MatMul":
        # [M, K] x [K, N]: the sizes of both and of the result are MK, KN and MN.
        sizes = [each.shape.num_elements() for each in (*node.inputs, *node.outputs)]
        return float(2 * math.sqrt(math.prod(sizes)))
    if node.type.endswith("Filter"):
        kernel, outputs = node.outputs[0], node.inputs[2]
    elif node.type.endswith("Input"):
        kernel, outputs = node.inputs[1], node.inputs[2]
    else:
        kernel, outputs = node.inputs[1], node.outputs[0]
    height, width, channels = kernel.shape[0], kernel.shape[1], kernel.shape[2]
    per_output = height * width * (1 if node.type in DEPTHWISE else channels)
    return float(2 * outputs.shape.num_elements() * per_output)


def figures(counted: dict[str, float], batch_size: int) -> dict[str, float | str]:
    """Returns images/s and what limits them."""
    launching = counted.get("launches", 0) * LAUNCH_S
    arithmetic = counted["operations"] / TENSOR_FLOPS
    seconds = max(counted["seconds"], launching)
    limits = {"launches": launching, "memory": counted["bytes"] / MEMORY_BYTES_S}
    limits["arithmetic"] = arithmetic
    return {
        "images_per_second": round(batch_size / seconds, -2),
        "limit": max(limits, key=lambda name: limits[name]),
        "gigaflop_per_image": round(counted["operations"] / batch_size / 1e9, 3),
        "megabytes_per_image": round(counted["bytes"] / batch_size / 1e6, 1),
        "launches": int(counted.get("launches", 0)),
    }


def measure_host() -> dict[str, float]:
    """Returns images/s of one core: decoded from JPEG files of 500 px, and read from the cache."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 38, 3)).astype(np.uint8)
    photo = Image.fromarray(noise).resize((380, 500), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90)
    count = 400

    def rate(began: float) -> float:
        return round(count / (time.process_time() - began), -1)

    began = time.process_time()
    for _ in range(count):
        pixels = fit_image(np.asarray(Image.open(buffer)), SIDE, SIDE, 3)
    decoded = rate(began)
    with tempfile.TemporaryDirectory() as folder:
        cached = CachedImages(Path(folder) / "images", count, pixels.nbytes)
        for row in range(count):
            cached.write(row, pixels)
        batch = np.empty((count, *pixels.shape), np.uint8)
        batch[:] = 0  # The memory of batches is there already.
        began = time.process_time()
        assert all(cached.read(row, batch[row]) for row in range(count))
        return {"decoded": decoded, "read": rate(began)}


def main() -> None:
    """Counts and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES)
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    for name in arguments.architectures:
        model = build_model(name, get_task("multiclass"), (SIDE, SIDE, 3), CLASSES, dropout=0.2)
        set_precision(model, "mixed_bfloat16")
        trainer = Trainer(
            model, get_task("multiclass"), from_recipe(resolve(Recipe(), {}, num_images=10_000))
        )
        megas = sum(map(multiply_adds, flat_layers(model))) / 1e6
        print(f"{name}: {megas:.0f} million multiply-adds, {model.count_params():,} weights")
        result[name] = {"million_multiply_adds": round(megas, 1)}
        for batch_size in BATCH_SIZES:
            rows = {
                "fused": figures(count_fused(model, batch_size), batch_size),
                "unfused": figures(count_unfused(trainer, batch_size), batch_size),
            }
            result[name][batch_size] = rows
            for way, row in rows.items():
                print(f"  batch {batch_size}, {way}: {row}")
    result["host"] = measure_host()
    result["link"] = round(LINK_BYTES_S / (SIDE * SIDE * 3), -3)
    print(f"images/s of a core: {result['host']}; of the link: {result['link']:.0f}")
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
