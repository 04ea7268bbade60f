"""`predict` of boxes: objects in pixels of the image, and a picture with their boxes.

The model is a constant: one sure object of the second class, and one that is a guess.
"""

import csv
import io
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.pipelines.serving.predict import Model, write_table

_CONSTANTS = {
    "boxes": np.array([[[2, 1, 6, 3], [0, 0, 1, 1]]], np.float32),
    "scores": np.array([[0.75, 0.1]], np.float32),
    "classes": np.array([[1, 0]], np.float32),
}


@pytest.fixture
def output(tmp_path):
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 4, 8, 1])
    results, nodes, initial = [], [], []
    for name, value in _CONSTANTS.items():
        shape = ["batch", *value.shape[1:]]
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        axes = onnx.numpy_helper.from_array(np.array([1, 2, 3][value.ndim - 1 :]), f"{name}_axes")
        initial += [onnx.numpy_helper.from_array(value, f"{name}_value"), axes]
        # Nothing of the image but the number of images.
        nodes += [
            helper.make_node("ReduceMax", ["pixels", "all_axes"], [f"{name}_max"], keepdims=1),
            helper.make_node("Mul", [f"{name}_max", "zero"], [f"{name}_four"]),
            helper.make_node("Squeeze", [f"{name}_four", f"{name}_axes"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]),
        ]
    initial.append(onnx.numpy_helper.from_array(np.array([1, 2, 3]), "all_axes"))
    initial.append(onnx.numpy_helper.from_array(np.array(0.0, np.float32), "zero"))
    graph = helper.make_graph(nodes, "constant", [pixels], results, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "out/model").mkdir(parents=True)
    onnx.save(model, tmp_path / "out/model/model.onnx")
    card = ModelCard("detection", ["cell", "dot"], [4, 8], 1)
    write_json(card, tmp_path / "out/model/model.json")
    return tmp_path / "out"


@pytest.fixture
def images(tmp_path):
    (tmp_path / "new").mkdir()
    Image.new("L", (80, 20)).save(tmp_path / "new/a.png")
    (tmp_path / "new/b.png").write_bytes(b"nothing")
    return tmp_path / "new"


def test_objects_are_in_pixels_of_the_image(output, images, tmp_path):
    stream, found = io.StringIO(), tmp_path / "found"
    predictions = Model(output).stream([str(images)], with_files=True)
    assert not write_table(predictions, False, stream, found)
    row, broken = csv.DictReader(io.StringIO(stream.getvalue()))
    assert broken["error"]
    assert not broken["objects"]
    assert (row["predicted"], float(row["confidence"])) == ("dot", 0.75)
    assert json.loads(row["objects"]) == [{"class": "dot", "score": 0.75, "box": [20, 5, 60, 15]}]
    with Image.open(found / "pictures/a.jpg") as drawn:
        assert drawn.size == (80, 20)
        pixels = np.asarray(drawn).astype(int)
    # The frame is coloured, inside and outside of it the image is as it was.
    assert pixels[5, 40].max() > 100
    assert pixels[10, 40].max() < 60
    assert pixels[1, 5].max() < 60


def test_from_python_the_table_has_typed_columns(output, images):
    table = Model(output).predict(images / "a.png")
    assert table.column_names == ["path", "predicted", "confidence", "objects", "error"]
    assert table["confidence"].to_pylist() == [0.75]
