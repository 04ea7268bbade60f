"""`predict` of boxes: objects in pixels of the image, and a picture with their boxes.

The model is a constant: one sure object of the second class, and one that is a guess.
"""

import csv
import io
import json

import numpy as np
import pytest
from constant_model import write_constant_model
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.pipelines.serving.predict import Model, write_table

_CONSTANTS = {
    "boxes": np.array([[[2, 1, 6, 3], [0, 0, 1, 1]]], np.float32),
    "scores": np.array([[0.75, 0.1]], np.float32),
    "classes": np.array([[1, 0]], np.float32),
}


@pytest.fixture
def output(tmp_path):
    card = ModelCard("detection", ["cell", "dot"], [4, 8], 1, least_score=0.3)
    write_constant_model(tmp_path / "out/model", _CONSTANTS, card)
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
