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
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.tools import flatbuffer_utils

from kfp_vision.components.evaluation import runtimes
from kfp_vision.components.shared.architectures.onnx_graph import convert_to_onnx
from kfp_vision.components.shared.tasks.protocol import FLOAT_PART
from kfp_vision.components.shared.training.inference import Infer

__all__ = ["FORMATS", "ExportSource", "Format"]

_ACTIVATIONS = ("SOFTMAX", "LOGISTIC")


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


def _output_names(model: keras.Model) -> list[str]:
    """Returns the names of the outputs, in the order in which `tf.nest.flatten` has them."""
    if isinstance(model.output, dict):
        return sorted(model.output)
    return list(model.output_names)


def _write_keras(source: ExportSource, path: Path) -> None:
    source.model.save(path)


def _write_saved_model(source: ExportSource, path: Path) -> None:
    """Writes a SavedModel folder; its endpoint is called `serve` and returns outputs by name.

    `model.export` writes the weights twice and every layer as an object, which takes twice as long
    to write and to open, and in its files layers like RandomFlip change every image.
    """
    model = source.model
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="pixels")
    names = _output_names(model)

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, tf.nest.flatten(model(pixels, training=False)), strict=True))

    module.serve = tf.function(serve, input_signature=[pixels], autograph=False)
    endpoints = ("serve", tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY)
    tf.saved_model.save(module, path, signatures=dict.fromkeys(endpoints, module.serve))


def _write_onnx(source: ExportSource, path: Path) -> None:
    """Writes an ONNX file with the input `pixels` and the outputs of the model, by their names."""
    model = source.model
    converted = convert_to_onnx(
        lambda pixels: tf.nest.flatten(model(pixels, training=False)),
        model.input_shape[1:],
        tf.float32,
        _output_names(model),
    )
    onnx.save(converted, path)


def _write_tflite(source: ExportSource, path: Path) -> None:
    """Writes a LiteRT file with float32 weights."""
    path.write_bytes(_converter(source).convert())


def _write_tflite_int8(source: ExportSource, path: Path) -> None:
    """Writes a LiteRT file whose weights and activations are int8.

    The range of every activation is measured on the calibration images. Operations of `FLOAT_PART`
    compute in float32; without any, the last layer does where it is a dense one.
    """

    def samples() -> Iterator[list[np.ndarray]]:
        for image in source.calibration:
            yield [image[None].astype(np.float32)]

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    path.write_bytes(_quantise(converter.convert()))


def _quantise(calibrated: bytes) -> bytes:
    """Returns a file that computes in int8 where it may, from one whose ranges are measured.

    As `tf.lite.experimental.QuantizationDebugger` does it, which has no uint8 at the input and
    keeps the ranges, by which operations that must have one range are int8 all the same.
    """
    file = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    for place in file.subgraphs[0].inputs:
        # A byte is its pixel, however dark the calibration images are.
        ranges = file.subgraphs[0].tensors[place].quantization
        ranges.min, ranges.max = [0.0], [255.0]
    left_out = [each for graph in file.subgraphs for each in graph.tensors if _is_float(each)]
    if left_out:
        left_out += [graph.tensors[place] for graph in file.subgraphs for place in graph.outputs]
    else:
        left_out = _last_layer(file)
    for tensor in left_out:
        tensor.quantization = None
    content: bytes = mlir_quantize(
        bytes(flatbuffer_utils.convert_object_to_bytearray(file)),
        input_data_type=tf.uint8,
        # Operations are found by the name of what they return, but for those that return two.
        denylisted_nodes=[tensor.name.decode() for tensor in left_out],
        denylisted_ops=["TOPK_V2"],
    )
    return content


def _last_layer(file: Any) -> list[Any]:
    """Returns what a dense layer and the activation after it return, where the model ends so.

    Of features that are almost the same in all images the rounding of many weights makes a constant
    for each class, in a fine-tuned network more than the classes differ by.
    """
    (graph, *_), tensors = file.subgraphs, []
    made_by = {place: operator for operator in graph.operators for place in operator.outputs}
    for place in graph.outputs:
        path = [place]
        while (kind := _kind(file, made_by.get(path[-1]))) in _ACTIVATIONS:
            path.append(made_by[path[-1]].inputs[0])
        if kind == "FULLY_CONNECTED":
            tensors += [graph.tensors[each] for each in path]
    return tensors


def _kind(file: Any, operator: Any) -> str:
    if operator is None:
        return ""
    name: str = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
    return name


def _is_float(tensor: Any) -> bool:
    return FLOAT_PART in tensor.name.decode()


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
