"""Converters: one function per exported format, from a model that returns predictions.

Every file takes pixels 0..255 [B, H, W, K], any B, and returns the predictions of the task. The
pixels are float32, except in `tflite_int8`: uint8, as a camera or a decoder delivers them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx.handler import tf_op

__all__ = ["write_keras", "write_onnx", "write_saved_model", "write_tflite", "write_tflite_int8"]

# The newest that the tf2onnx in use writes.
_ONNX_OPSET = 18


@tf_op("Erfc")
class _Erfc:
    """erfc(x) = 1 - erf(x): what tf2onnx lacks for the GELU of Keras (ConvNeXt)."""

    @classmethod
    def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
        """Replaces the node; the name says from which ONNX opset on."""
        (source,), (result,) = node.input, node.output
        kind, shape = graph.get_dtype(result), graph.get_shape(result)
        one = graph.make_const(f"{node.name}_one", np.array(1, np.float32))
        erf = graph.make_node("Erf", [source], dtypes=[kind], shapes=[shape])
        graph.remove_node(node.name)
        graph.make_node(
            "Sub", [one.output[0], erf.output[0]], outputs=[result], dtypes=[kind], shapes=[shape]
        )


def output_names(model: keras.Model) -> list[str]:
    """Returns the names of the outputs, in the order in which `tf.nest.flatten` has them."""
    if isinstance(model.output, dict):
        return sorted(model.output)
    return list(model.output_names)


def write_keras(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file."""
    model.save(path)


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Writes a SavedModel folder; its endpoint is called `serve`."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    # Not `model.export`, in whose files layers like RandomFlip change every image.
    archive.add_endpoint(
        "serve",
        lambda pixels: model(pixels, training=False),
        [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name="pixels")],
    )
    archive.write_out(path, verbose=False)


def write_onnx(model: keras.Model, path: Path) -> None:
    """Writes an ONNX file with the input `pixels` and the outputs of the model, by their names."""
    names = output_names(model)

    def call(pixels: tf.Tensor) -> list[tf.Tensor]:
        outputs = tf.nest.flatten(model(pixels, training=False))
        return [tf.identity(each, name=name) for each, name in zip(outputs, names, strict=True)]

    signature = [tf.TensorSpec([None, *model.input_shape[1:]], name="pixels")]
    traced = tf.function(call, input_signature=signature).get_concrete_function()
    # tf2onnx turns the constants of keras.layers.Normalization into inputs unless they are frozen.
    frozen = convert_variables_to_constants_v2(traced)
    graph_def = frozen.graph.as_graph_def()
    # Keras wraps grouped convolutions in a function for XLA that is not inlined; ONNX has none.
    functions = graph_def.library.function
    for part in (graph_def.node, functions, *(function.node_def for function in functions)):
        for entry in part:
            entry.attr.pop("_XlaMustCompile", None)
            entry.attr.pop("_noinline", None)
    converted, _ = tf2onnx.convert.from_graph_def(
        graph_def,
        input_names=["pixels:0"],
        output_names=[f"{name}:0" for name in names],
        opset=_ONNX_OPSET,
        tensors_to_rename={f"{name}:0": name for name in ("pixels", *names)},
    )
    for value in (converted.graph.input[0], *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(converted)
    onnx.save(converted, path)


def write_tflite(saved_model: Path, path: Path) -> None:
    """Writes a LiteRT file with float32 weights from a SavedModel."""
    path.write_bytes(_converter(saved_model).convert())


def write_tflite_int8(saved_model: Path, path: Path, calibration: np.ndarray) -> None:
    """Writes a LiteRT file whose weights and activations are int8.

    The probabilities are float32 again, in steps of 1/256.

    Args:
        saved_model: What is converted.
        path: The file.
        calibration: Training images, uint8 [M, H, W, K]; the range of every activation is
            measured on them.
    """

    def samples() -> Iterator[list[np.ndarray]]:
        for image in calibration:
            yield [image[None].astype(np.float32)]

    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    path.write_bytes(converter.convert())


def _converter(saved_model: Path) -> tf.lite.TFLiteConverter:
    if not (saved_model / "saved_model.pb").is_file():
        raise FileNotFoundError(
            "A LiteRT file is made from the SavedModel, which must have been written. Received: "
            f"none in {saved_model}"
        )
    return tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
