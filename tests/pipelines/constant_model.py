"""A published ONNX model that says the same of every image."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard

__all__ = ["write_constant_model"]


def write_constant_model(
    folder: Path, constants: Mapping[str, np.ndarray], card: ModelCard
) -> None:
    """Writes `model.onnx` and `model.json`.

    Args:
        folder: Is made.
        constants: Name of an output -> what it says of one image, float32 [1, ...].
        card: For gray images of 4 x 8 pixels.
    """
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 4, 8, 1])
    results, nodes, initial = [], [], []
    for name, value in constants.items():
        shape = ["batch", *value.shape[1:]]
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        # -1: of the images; then as many ones as the value has axes beside that.
        ones = np.array([-1, *[1] * (value.ndim - 1)], np.int64)
        initial.append(onnx.numpy_helper.from_array(ones, f"{name}_ones"))
        initial.append(onnx.numpy_helper.from_array(value, f"{name}_value"))
        # Nothing of the image but the number of images.
        nodes += [
            helper.make_node("ReduceMax", ["pixels", "all_axes"], [f"{name}_max"], keepdims=1),
            helper.make_node("Mul", [f"{name}_max", "zero"], [f"{name}_four"]),
            helper.make_node("Reshape", [f"{name}_four", f"{name}_ones"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]),
        ]
    initial.append(onnx.numpy_helper.from_array(np.array([1, 2, 3]), "all_axes"))
    initial.append(onnx.numpy_helper.from_array(np.array(0.0, np.float32), "zero"))
    graph = helper.make_graph(nodes, "constant", [pixels], results, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    write_json(card, folder / "model.json")
