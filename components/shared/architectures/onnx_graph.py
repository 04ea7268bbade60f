"""A network as an ONNX graph whose weights are constants.

Shapes: the input `pixels` [B, H, W, K], outputs [B, ...], any B.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx.handler import tf_op

__all__ = ["INPUT", "convert_to_onnx"]

INPUT = "pixels"
# The newest that the tf2onnx in use writes.
_OPSET = 18


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


def convert_to_onnx(
    call: Callable[[tf.Tensor], Sequence[tf.Tensor]],
    size: tuple[int | None, int | None, int],
    dtype: tf.DType,
    names: Sequence[str],
) -> onnx.ModelProto:
    """Returns the graph of a function of pixels.

    Args:
        call: Pixels -> outputs.
        size: (height, width, channels) of the pixels; None for any.
        dtype: Of the pixels.
        names: Of the outputs.

    Raises:
        onnx.checker.ValidationError: What was converted is no ONNX.
    """

    def named(pixels: tf.Tensor) -> list[tf.Tensor]:
        pairs = zip(call(pixels), names, strict=True)
        return [tf.identity(output, name=name) for output, name in pairs]

    signature = [tf.TensorSpec([None, *size], dtype, name=INPUT)]
    function = tf.function(named, input_signature=signature, autograph=False)
    traced = function.get_concrete_function()
    # tf2onnx turns the constants of keras.layers.Normalization into inputs unless they are frozen.
    graph_def = convert_variables_to_constants_v2(traced).graph.as_graph_def()
    # Keras wraps grouped convolutions in a function for XLA that is not inlined; ONNX has none.
    functions = graph_def.library.function
    for part in (graph_def.node, functions, *(function.node_def for function in functions)):
        for entry in part:
            entry.attr.pop("_XlaMustCompile", None)
            entry.attr.pop("_noinline", None)
    converted: onnx.ModelProto
    converted, _ = tf2onnx.convert.from_graph_def(
        graph_def,
        input_names=[f"{INPUT}:0"],
        output_names=[f"{name}:0" for name in names],
        opset=_OPSET,
        tensors_to_rename={f"{name}:0": name for name in (INPUT, *names)},
    )
    for value in (converted.graph.input[0], *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    _raise_scales(converted.graph)
    onnx.checker.check_model(converted)
    return converted


def _raise_scales(graph: onnx.GraphProto) -> None:
    """Makes resized maps as large as they are in TensorFlow.

    ONNX rounds the product of side and scale down: 5 times the float32 nearest to 9 / 5 is 8.
    """
    scales = {each.input[2] for each in graph.node if each.op_type == "Resize"}
    for held in graph.initializer:
        if held.name in scales:
            values = onnx.numpy_helper.to_array(held)
            raised = np.nextafter(values, np.float32(np.inf))
            exact = values == np.rint(values)
            held.CopyFrom(onnx.numpy_helper.from_array(np.where(exact, values, raised), held.name))
