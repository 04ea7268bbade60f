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
from kfp_vision.components.shared.datasets.palette import class_colour
from kfp_vision.pipelines.serving.predict import Model
from kfp_vision.pipelines.serving.prediction_files import write_table

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


def test_boxes_end_with_the_image_and_pictures_are_of_the_photo(tmp_path):
    constants = {**_CONSTANTS, "boxes": np.array([[[-1, 1, 9, 4.5], [0, 0, 1, 1]]], np.float32)}
    card = ModelCard("detection", ["cell", "dot"], [4, 8], 1, least_score=0.3)
    write_constant_model(tmp_path / "out/model", constants, card)
    # Lines of a pixel, which an image of 8 x 4 pixels does not show.
    photo = np.zeros((1500, 3000), np.uint8)
    photo[:, ::3] = 255
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[:300, :600]).save(tmp_path / "b.png")
    model = Model(tmp_path / "out")
    found = list(model.stream([str(tmp_path / f"{name}.png") for name in "ab"], with_files=True))
    (named,) = json.loads(found[0].row["objects"])
    assert named["box"] == [0, 375, 3000, 1500]
    first, second = (
        Image.open(io.BytesIO(each.files[f"pictures/{name}.jpg"]))
        for each, name in zip(found, "ab", strict=True)
    )
    assert (first.size, second.size) == ((2000, 1000), (600, 300))
    assert np.ptp(np.asarray(second.convert("L"))[20, 30:60].astype(int)) > 150


def test_a_large_input_has_few_images_at_once(tmp_path, monkeypatch):
    card = ModelCard("detection", ["cell", "dot"], [640, 640], 1, least_score=0.3)
    write_constant_model(tmp_path / "out/model", _CONSTANTS, card)
    for number in range(5):
        Image.new("L", (8, 4)).save(tmp_path / f"{number}.png")
    model, seen = Model(tmp_path / "out"), []

    def infer(images):
        seen.append(images)
        return {name: np.repeat(value, len(images), 0) for name, value in _CONSTANTS.items()}

    monkeypatch.setitem(vars(model), "_infer", infer)
    assert len(model.predict([tmp_path / f"{number}.png" for number in range(5)])) == 5
    assert sum(map(len, seen)) == 5
    assert max(each.size for each in seen) <= 2**20


def test_an_output_among_the_images_is_refused(output, images, kfp_vision_here):
    answer = kfp_vision_here("predict", output, images, "--output", images / "found")
    assert answer.returncode == 2
    assert "The output must not lie in the images. Received: " in answer.stderr
    assert not (images / "found").exists()


def test_an_output_that_cannot_be_written_is_named(output, images, tmp_path):
    (tmp_path / "file").write_text("mine")
    predictions = Model(output).stream([str(images)], with_files=True)
    with pytest.raises(ValueError, match=r"The output must .*file/found.*Make room there, or name"):
        write_table(predictions, False, io.StringIO(), tmp_path / "file/found")
    # A folder in which what is to be a folder is a file.
    predictions = Model(output).stream([str(images)], with_files=True)
    (tmp_path / "found").mkdir()
    (tmp_path / "found/.predictions").touch()
    (tmp_path / "found/pictures").touch()
    with pytest.raises(ValueError, match=r"The output must .*Received: .*found; .*pictures: "):
        write_table(predictions, False, io.StringIO(), tmp_path / "found")


def test_a_picture_names_class_and_score(output, tmp_path):
    Image.new("L", (320, 160)).save(tmp_path / "a.png")
    model = Model(output)
    (found,) = model.stream([str(tmp_path / "a.png")], with_files=True)
    with Image.open(io.BytesIO(found.files["pictures/a.jpg"])) as drawn:
        pixels = np.asarray(drawn).astype(int)
    # The box is from (80, 40) to (240, 120); the name is above it, and not as long as it is.
    named = np.asarray((np.abs(pixels - class_colour(1)) < 40).all(axis=-1))
    assert named[28:38, 82:110].mean() > 0.4
    assert not named[28:36, 180:].any()
    model.card.classes[1] = "a dot of twice the length"
    (longer,) = model.stream([str(tmp_path / "a.png")], with_files=True)
    with Image.open(io.BytesIO(longer.files["pictures/a.jpg"])) as drawn:
        pixels = np.asarray(drawn).astype(int)
    assert (np.abs(pixels[28:36, 180:] - class_colour(1)) < 40).all(axis=-1).any()
