"""The code of `model/README.md` is run as a reader would, without this package."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from kfp_vision.components.evaluation.model_readme import model_readme
from kfp_vision.components.shared.artifacts.evaluation_result import Export
from kfp_vision.components.shared.artifacts.model_card import ModelCard


def test_objects_are_printed_in_pixels_of_a_photo_that_is_turned(tmp_path, monkeypatch, capsys):
    answers = {
        "boxes": np.array([[[2, 1, 4, 8], [0, 0, 1, 1]]], np.float32),
        "scores": np.array([[0.9, 0.2]], np.float32),
        "classes": np.array([[1, 0]], np.int32),
    }
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in answers.items()
    ]
    shape = [1, 8, 4, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["pixels"], ["seen"]),
            *(
                helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))
                for name, values in answers.items()
            ),
        ],
        "answers",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [*outputs, helper.make_tensor_value_info("seen", TensorProto.FLOAT, shape)],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "model.onnx")
    # Stored lying, 80 x 40 and red on the left: shown upright, 40 x 80 and red at the top.
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    card = ModelCard("detection", ["cat", "dog"], [8, 4], 3, least_score=0.3)
    page = model_readme(
        card, [Export("onnx", "model.onnx", 1, 1.0, {"map": 0.5}, 0.0, True, "")], "map"
    )
    monkeypatch.chdir(tmp_path)
    said: dict[str, np.ndarray] = {}
    exec(page.split("```python")[1].split("```")[0], said)
    assert (said["outputs"]["seen"][0, :3, :, 0] > 200).all()
    assert capsys.readouterr().out == "1 0.9 [20. 10. 40. 80.]\n"


def test_a_file_that_failed_is_named():
    card = ModelCard("multiclass", ["cat", "dog", "owl"], [8, 4], 3)
    exports = [
        Export("keras", "model.keras", 1, 1.0, {"accuracy": 0.91}, 0.0, True, ""),
        Export("tflite_int8", "model_int8.tflite", 1, 1.0, {"accuracy": 0.8}, 0.3, False, "Lost."),
    ]
    rows = [
        line for line in model_readme(card, exports, "accuracy").splitlines() if "`model" in line
    ]
    assert rows[0].endswith("| 0.9100 | passed |")
    assert rows[1].endswith("| 0.8000 | **failed**: Lost. |")
