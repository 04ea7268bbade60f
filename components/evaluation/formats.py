"""The exported formats: what writes each, from a model that returns predictions, and opens it.

Every file takes pixels 0..255 [B, H, W, K], any B, and returns the predictions of the task. The
pixels are float32, except in `tflite_int8`: uint8, as a camera or a decoder delivers them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx.handler import tf_op

from kfp_vision.components.evaluation import runtimes
from kfp_vision.components.evaluation.inference import Infer

__all__ = ["FORMATS", "ExportSource", "Format"]

# The newest that the tf2onnx in use writes.
_ONNX_OPSET = 18


@dataclasses.dataclass(frozen=True)
class ExportSource:
    """What a format is written from.

    Attributes:
        model: The model in Keras.
        calibration: Training images uint8 [M, H, W, K], on which int8 ranges are measured.
        saved_model: Folder of the SavedModel, from which LiteRT files are made.
    """

    model: keras.Model
    calibration: np.ndarray
    saved_model: Path


@dataclasses.dataclass(frozen=True)
class Format:
    """One exported format.

    Attributes:
        path: Of the file or folder, in the folder of exports.
        write: Writes it to a path.
        open: Reads it in its own runtime: a function uint8 [B, H, W, K] -> predictions [B, ...].
        is_exact: Whether it computes with the float32 numbers of the model.
    """

    path: str
    write: Callable[[ExportSource, Path], None]
    open: Callable[[Path], Infer]
    is_exact: bool = True


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


def _output_names(model: keras.Model) -> list[str]:
    """Returns the names of the outputs, in the order in which `tf.nest.flatten` has them."""
    if isinstance(model.output, dict):
        return sorted(model.output)
    return list(model.output_names)


def _write_keras(source: ExportSource, path: Path) -> None:
    source.model.save(path)


def _write_saved_model(source: ExportSource, path: Path) -> None:
    """Writes a SavedModel folder; its endpoint is called `serve`."""
    model = source.model
    archive = keras.export.ExportArchive()
    archive.track(model)
    # Not `model.export`, in whose files layers like RandomFlip change every image.
    archive.add_endpoint(
        "serve",
        lambda pixels: model(pixels, training=False),
        [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name="pixels")],
    )
    archive.write_out(path, verbose=False)


def _write_onnx(source: ExportSource, path: Path) -> None:
    """Writes an ONNX file with the input `pixels` and the outputs of the model, by their names."""
    model = source.model
    names = _output_names(model)

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


def _write_tflite(source: ExportSource, path: Path) -> None:
    """Writes a LiteRT file with float32 weights."""
    path.write_bytes(_converter(source).convert())


def _write_tflite_int8(source: ExportSource, path: Path) -> None:
    """Writes a LiteRT file whose weights and activations are int8.

    The range of every activation is measured on the calibration images. The probabilities are
    float32 again, in steps of 1/256.
    """

    def samples() -> Iterator[list[np.ndarray]]:
        for image in source.calibration:
            yield [image[None].astype(np.float32)]

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    path.write_bytes(converter.convert())


def _converter(source: ExportSource) -> tf.lite.TFLiteConverter:
    if not (source.saved_model / "saved_model.pb").is_file():
        raise FileNotFoundError(
            "A LiteRT file is made from the SavedModel, which must have been written. Received: "
            f"none in {source.saved_model}"
        )
    return tf.lite.TFLiteConverter.from_saved_model(str(source.saved_model))


# In the order of writing.
FORMATS = {
    "keras": Format("model.keras", _write_keras, runtimes.open_keras),
    "saved_model": Format("saved_model", _write_saved_model, runtimes.open_saved_model),
    "onnx": Format("model.onnx", _write_onnx, runtimes.open_onnx),
    "tflite": Format("model.tflite", _write_tflite, runtimes.open_tflite),
    "tflite_int8": Format(
        "model_int8.tflite", _write_tflite_int8, runtimes.open_tflite, is_exact=False
    ),
}
