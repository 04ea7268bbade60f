"""`predict` of masks: a row, a mask of the size of the image and a picture for each image.

The model is a formula: the probability of `light` is the pixel over 255.
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
from kfp_vision.components.shared.datasets.palette import class_colour
from kfp_vision.pipelines.serving.predict import Model, output_stem
from kfp_vision.pipelines.serving.prediction_files import write_table


@pytest.fixture
def output(tmp_path):
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 4, 8, 1])
    result = helper.make_tensor_value_info(
        "mask_probabilities", TensorProto.FLOAT, ["batch", 4, 8, 2]
    )
    constants = {
        "scale": np.array([-1 / 255, 1 / 255], np.float32),
        "offset": np.array([1, 0], np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["mask_probabilities"]),
    ]
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "light", [pixels], [result], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "out/model").mkdir(parents=True)
    onnx.save(model, tmp_path / "out/model/model.onnx")
    card = ModelCard("semantic_segmentation", ["dark", "light"], [4, 8], 1)
    write_json(card, tmp_path / "out/model/model.json")
    return tmp_path / "out"


@pytest.fixture
def images(tmp_path):
    """An image of which the right quarter is light, and one that is none."""
    pixels = np.zeros((12, 24), np.uint8)
    pixels[:, 18:] = 255
    (tmp_path / "new/deep").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "new/deep/a.png")
    (tmp_path / "new/b.png").write_bytes(b"nothing")
    return tmp_path / "new"


def test_masks_are_of_the_size_of_the_image_and_lie_as_the_images_do(output, images, tmp_path):
    stream, found = io.StringIO(), tmp_path / "found"
    predictions = Model(output).stream([str(images)], with_files=True)
    assert not write_table(predictions, False, stream, found)
    broken, row = csv.DictReader(io.StringIO(stream.getvalue()))
    assert broken["error"]
    assert not broken["share_light"]
    assert (row["predicted"], float(row["share_light"])) == ("dark|light", 0.25)
    # Where light meets dark the resized image is between.
    assert 0.95 < float(row["confidence"]) < 1.0
    assert sorted(p.relative_to(found).as_posix() for p in found.rglob("*.*")) == [
        ".predictions",
        "masks/deep/a.png",
        "pictures/deep/a.jpg",
    ]
    with Image.open(found / "masks/deep/a.png") as mask:
        assert (np.asarray(mask) == np.repeat([0, 1], [18, 6])).all()
        assert mask.size == (24, 12)
    with Image.open(found / "pictures/deep/a.jpg") as drawn:
        assert drawn.size == (24, 12)
        left, right = np.asarray(drawn)[6, [3, 20]]
    assert np.ptp(left.astype(int)) > 30
    assert np.abs(left.astype(int) - right).max() > 30


@pytest.mark.parametrize(("level", "shown"), [(0, [0]), (255, [1]), (None, [0, 1])])
def test_a_legend_below_the_picture_has_the_classes_that_are_shown(
    output, images, tmp_path, level, shown
):
    pixels = np.zeros((80, 160), np.uint8)
    pixels[:, 80:] = 255
    Image.fromarray(pixels if level is None else np.full_like(pixels, level)).save(
        tmp_path / "a.png"
    )
    (found,) = Model(output).stream([str(tmp_path / "a.png")], with_files=True)
    with Image.open(io.BytesIO(found.files["pictures/a.jpg"])) as drawn:
        legend = np.asarray(drawn).astype(int)[80:]
    assert legend.shape[:2] == (len(legend), 160)
    for label in (0, 1):
        key = (np.abs(legend - class_colour(label)) < 40).all(axis=-1)
        assert (key.sum() > 20) == (label in shown)


def test_images_of_one_name_each_have_their_mask(output, images, tmp_path):
    Image.fromarray(np.full((6, 6), 255, np.uint8)).save(images / "deep/a.bmp")
    predictions, stream = (
        Model(output).stream([str(images / "deep")], with_files=True),
        io.StringIO(),
    )
    assert write_table(predictions, False, stream, tmp_path / "found")
    rows = csv.DictReader(io.StringIO(stream.getvalue()))
    assert [(row["path"].rpartition("/")[2], row["files"]) for row in rows] == [
        ("a.bmp", "masks/a.png|pictures/a.jpg"),
        ("a.png", "masks/a-2.png|pictures/a-2.jpg"),
    ]
    with Image.open(tmp_path / "found/masks/a.png") as first:
        assert first.size == (6, 6)
    with Image.open(tmp_path / "found/masks/a-2.png") as second:
        assert second.size == (24, 12)


@pytest.mark.parametrize("path", ["../../a.png", "/../a.png", "./a.png", "..//a.png"])
def test_no_name_leads_out_of_the_folder(path):
    assert output_stem(path) == "a"


@pytest.mark.parametrize(
    ("path", "stem"), [("v1.2/scan", "v1.2/scan"), ("v1.2/b.c.png", "v1.2/b.c"), (".a", ".a")]
)
def test_a_suffix_is_of_the_file_alone(path, stem):
    assert output_stem(path) == stem


def test_from_python_the_table_has_typed_columns(output, images):
    table = Model(output).predict(images / "deep/a.png")
    assert table["share_dark"].to_pylist() == [0.75]
    assert table.column_names == [
        "path",
        "predicted",
        "confidence",
        "share_dark",
        "share_light",
        "error",
    ]


def test_a_class_of_the_whole_image_has_no_file(output, images):
    card = json.loads((output / "model/model.json").read_text())
    (output / "model/model.json").write_text(json.dumps({**card, "task": "binary"}))
    with pytest.raises(ValueError, match="--output"):
        next(Model(output).stream([str(images)], with_files=True))


def test_masks_of_others_are_not_replaced(output, images, tmp_path):
    (tmp_path / "data/masks/deep").mkdir(parents=True)
    (tmp_path / "data/masks/deep/a.png").write_bytes(b"labelled by hand")
    for _ in range(2):
        predictions = Model(output).stream([str(images)], with_files=True)
        with pytest.raises(ValueError, match="Received: .*data with masks"):
            write_table(predictions, False, io.StringIO(), tmp_path / "data")
    assert (tmp_path / "data/masks/deep/a.png").read_bytes() == b"labelled by hand"
    # Its own are.
    for _ in range(2):
        predictions = Model(output).stream([str(images / "deep")], with_files=True)
        assert write_table(predictions, False, io.StringIO(), tmp_path / "found")
