"""`predict` of masks of objects: in pixels of the image, drawn, and as a file of COCO.

The model is a constant: one sure object of the second class, and one that is a guess.
"""

import csv
import io
import json

import numpy as np
import pytest
from constant_model import write_constant_model
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.palette import class_colour
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points
from kfp_vision.pipelines.serving.predict import Model
from kfp_vision.pipelines.serving.prediction_files import write_table

# Half of the box: what lies left of its middle.
_LEFT = (window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)[0] < 0).astype(np.float32)
_INSIDE = np.abs(window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)[1]) < 1
_CONSTANTS = {
    "boxes": np.array([[[2, 1, 6, 3], [0, 0, 1, 1]]], np.float32),
    "scores": np.array([[0.75, 0.1]], np.float32),
    "classes": np.array([[1, 0]], np.float32),
    "masks": np.broadcast_to(_LEFT * _INSIDE[:, None], (1, 2, MASK_SIDE, MASK_SIDE)),
}


@pytest.fixture
def found(tmp_path):
    """Returns the folder of the files and the row of an image of 80 x 20 pixels."""
    card = ModelCard("instance_segmentation", ["cell", "dot"], [4, 8], 1, least_score=0.3)
    constants = {name: np.ascontiguousarray(each) for name, each in _CONSTANTS.items()}
    write_constant_model(tmp_path / "out/model", constants, card)
    (tmp_path / "new").mkdir()
    Image.new("L", (80, 20), 20).save(tmp_path / "new/a.png")
    model, stream = Model(tmp_path / "out"), io.StringIO()
    predictions = model.stream([str(tmp_path / "new")], with_files=True)
    assert write_table(predictions, False, stream, tmp_path / "found", model.coco_file())
    (row,) = csv.DictReader(io.StringIO(stream.getvalue()))
    return tmp_path / "found", row


def _mask():
    mask = np.zeros((20, 80), np.uint8)
    # The window reaches a quarter of the box beyond it.
    mask[5:15, 10:40] = 1
    return mask


def test_masks_are_in_pixels_of_the_image(found):
    folder, row = found
    (each,) = json.loads(row["objects"])
    assert (each["class"], each["score"], each["box"]) == ("dot", 0.75, [20, 5, 60, 15])
    assert np.abs(coco_mask.decode(each["segmentation"]).astype(int) - _mask()).sum() <= 30
    with Image.open(folder / "pictures/a.jpg") as drawn:
        pixels = np.asarray(drawn).astype(int)
    assert pixels.shape == (20, 80, 3)
    assert pixels[10, 25].max() - pixels[10, 25].min() > 30
    assert pixels[10, 60].max() - pixels[10, 60].min() < 10


def test_the_objects_are_a_dataset_of_coco(found, tmp_path):
    folder, row = found
    content = COCO(folder / "coco.json")
    assert content.loadRes(content.dataset["annotations"]).getAnnIds() == [1]
    document = json.loads((folder / "coco.json").read_text())
    (result,) = document["annotations"]
    (each,) = json.loads(row["objects"])
    assert (result["category_id"], result["bbox"]) == (2, [20, 5, 40, 10])
    assert result["segmentation"] == each["segmentation"]
    assert result["area"] == coco_mask.area(each["segmentation"])
    # As annotations of the images that were asked about, by a tool or by the next run.
    (tmp_path / "again/train").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png"):
        Image.new("L", (80, 20), ord(name[0])).save(tmp_path / "again/train" / name)
    document["images"] = [
        {**document["images"][0], "id": at, "file_name": name}
        for at, name in enumerate(("a.png", "b.png", "c.png"), 1)
    ]
    document["annotations"] = [{**result, "id": at, "image_id": at} for at in (1, 2, 3)]
    (tmp_path / "again/train/_annotations.coco.json").write_text(json.dumps(document))
    info = import_dataset(str(tmp_path / "again"), tmp_path / "dataset", ImportConfig())
    assert info.task == "instance_segmentation"
    (counts,) = open_split(tmp_path / "dataset", "train")["segments"][0].as_py()
    assert counts.decode() == each["segmentation"]["counts"]


def test_images_of_one_name_in_two_folders_are_told_apart(found, tmp_path, monkeypatch):
    (tmp_path / "late").mkdir()
    Image.new("L", (80, 20), 20).save(tmp_path / "late/a.png")
    model, folders = Model(tmp_path / "out"), [str(tmp_path / name) for name in ("new", "late")]
    # The constant is of one image.
    both = {name: np.repeat(each, 2, 0) for name, each in _CONSTANTS.items()}
    monkeypatch.setitem(vars(model), "_infer", lambda images: both)
    predictions = model.stream(folders, with_files=True)
    assert write_table(predictions, False, io.StringIO(), tmp_path / "both", model.coco_file())
    images = json.loads((tmp_path / "both/coco.json").read_text())["images"]
    assert [each["file_name"] for each in images] == [f"{folder}/a.png" for folder in folders]
    (only,) = json.loads((found[0] / "coco.json").read_text())["images"]
    assert only["file_name"] == "a.png"


def test_a_legend_below_the_picture_has_the_classes_that_are_shown(found, tmp_path):
    Image.new("L", (160, 80), 20).save(tmp_path / "b.png")
    (each,) = Model(tmp_path / "out").stream([str(tmp_path / "b.png")], with_files=True)
    with Image.open(io.BytesIO(each.files["pictures/b.jpg"])) as drawn:
        legend = np.asarray(drawn).astype(int)[80:]
    counts = [(np.abs(legend - class_colour(at)) < 40).all(axis=-1).sum() for at in (0, 1)]
    assert counts[0] == 0
    assert counts[1] > 20
