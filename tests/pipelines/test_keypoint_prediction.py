"""`predict` of keypoints: in pixels of the image, as JSON, as a CSV of each image, and drawn."""

import csv
import io
import json

import numpy as np
import pytest
from constant_model import write_constant_model
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.palette import class_colour
from kfp_vision.pipelines.serving.predict import Model
from kfp_vision.pipelines.serving.prediction_files import write_table

# One sure object of the second class, of which a keypoint is a guess, and one that is a guess.
_CONSTANTS = {
    "boxes": np.array([[[2, 1, 6, 3], [0, 0, 1, 1]]], np.float32),
    "scores": np.array([[0.75, 0.1]], np.float32),
    "classes": np.array([[1, 0]], np.float32),
    "keypoints": np.array([[[[3, 2, 0.9], [5, 2.5, 0.2]], [[0, 0, 0.1], [1, 1, 0.1]]]], np.float32),
}
_POINTS = {"nose": [30.0, 10.0, 0.9], "tail": [50.0, 12.5, 0.2]}


@pytest.fixture
def output(tmp_path):
    card = ModelCard(
        "keypoints", ["cat", "dog"], [4, 8], 1, keypoint_names=list(_POINTS), least_score=0.3
    )
    write_constant_model(tmp_path / "out/model", _CONSTANTS, card)
    (tmp_path / "new").mkdir()
    Image.new("L", (80, 20)).save(tmp_path / "new/a.png")
    return tmp_path / "out"


def test_keypoints_are_in_pixels_of_the_image(output, tmp_path):
    stream, found = io.StringIO(), tmp_path / "found"
    predictions = Model(output).stream([str(tmp_path / "new")], with_files=True)
    assert write_table(predictions, False, stream, found)
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert (row["predicted"], float(row["confidence"])) == ("dog", 0.75)
    (dog,) = json.loads(row["objects"])
    assert (dog["class"], dog["box"]) == ("dog", [20, 5, 60, 15])
    assert dog["keypoints"] == _POINTS
    table = list(csv.DictReader((found / "keypoints/a.csv").open(newline="")))
    assert {
        each["keypoint"]: [float(each[name]) for name in ("x", "y", "score")] for each in table
    } == _POINTS
    assert {(each["object"], each["class"], each["object_score"]) for each in table} == {
        ("0", "dog", "0.75")
    }
    with Image.open(found / "pictures/a.jpg") as drawn:
        pixels = np.asarray(drawn).astype(int)
    # A sure one is full, a guess is a circle.
    assert pixels[10, 30].max() > 100
    assert pixels[12, 50].max() < pixels[12, 52].max()


def test_a_guess_is_not_seen_in_the_file_of_coco(output, tmp_path):
    model = Model(output)
    predictions = model.stream([str(tmp_path / "new")], with_files=True)
    assert write_table(predictions, False, io.StringIO(), tmp_path / "found", model.coco_file())
    document = json.loads((tmp_path / "found/coco.json").read_text())
    assert [each["file_name"] for each in document["images"]] == ["a.png"]
    assert document["annotations"][0]["keypoints"] == [30, 10, 2, 50, 12.5, 1]


def test_a_legend_below_the_picture_has_the_keypoints(output, tmp_path):
    Image.new("L", (160, 80)).save(tmp_path / "b.png")
    (each,) = Model(output).stream([str(tmp_path / "b.png")], with_files=True)
    with Image.open(io.BytesIO(each.files["pictures/b.jpg"])) as drawn:
        legend = np.asarray(drawn).astype(int)[80:]
    for place in (1, 2):
        assert (np.abs(legend - class_colour(place)) < 40).all(axis=-1).sum() > 20
