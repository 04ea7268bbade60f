"""The code of `model/README.md`, run as a reader would, finds what `predict` writes."""

import json

import numpy as np
import pytest
from constant_model import write_constant_model
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.evaluation.model_readme import model_readme
from kfp_vision.components.shared.artifacts.evaluation_result import Export
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.pipelines.serving.predict import Model

_EXPORTS = [Export("onnx", "model.onnx", 1, 1.0, {}, 0.0, True, "")]
_ROWS, _COLUMNS = np.mgrid[:28, :28] - 13.5
_OBJECTS = {
    "boxes": np.array([[[2, 1, 6, 3], [3, 0.5, 7.5, 3.5], [0, 0, 1, 1]]], np.float32),
    "scores": np.array([[0.75, 0.5, 0.1]], np.float32),
    "classes": np.array([[1, 0, 1]], np.int32).astype(np.float32),
}
# Of each object an ellipse, the second one larger and aslant.
_ELLIPSES = (
    1 / (1 + np.exp(np.hypot(_ROWS, _COLUMNS) - 8)),
    1 / (1 + np.exp(np.hypot(_ROWS + _COLUMNS, _COLUMNS) - 11)),
)
_MASKS = np.stack([*_ELLIPSES, _ELLIPSES[0]])[None].astype(np.float32)
_POINTS = np.random.default_rng(1).uniform(0.5, 3.5, (1, 3, 2, 3)).astype(np.float32)


@pytest.fixture
def run_both(tmp_path, monkeypatch):
    """Returns what the code of the page has left, and what is predicted, of one photograph."""

    def run(card, constants):
        write_constant_model(tmp_path / "model", constants, card)
        Image.new("L", (83, 37), 20).save(tmp_path / "model/image.png")
        monkeypatch.chdir(tmp_path / "model")
        left: dict[str, np.ndarray] = {}
        page = model_readme(card, _EXPORTS, "accuracy")
        exec(page.split("```python")[1].split("```")[0], left)
        (predicted,) = Model(tmp_path / "model").stream(["image.png"], card.task != "binary")
        return left, predicted

    return run


def test_the_class_of_each_pixel(run_both, tmp_path):
    card = ModelCard("semantic_segmentation", ["sky", "car", "road"], [4, 8], 1)
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], (1, 4, 8)).astype(np.float32)
    _, predicted = run_both(card, {"mask_probabilities": shares})
    (tmp_path / "predicted.png").write_bytes(predicted.files["masks/image.png"])
    with Image.open("mask.png") as ours, Image.open(tmp_path / "predicted.png") as theirs:
        assert (np.asarray(ours) == np.asarray(theirs)).all()
        assert ours.size == (83, 37)
        assert set(np.unique(np.asarray(ours))) == {0, 1, 2}


def test_masks_of_objects(run_both):
    card = ModelCard("instance_segmentation", ["cell", "dot"], [4, 8], 1, least_score=0.3)
    _, predicted = run_both(card, {**_OBJECTS, "masks": _MASKS})
    objects = json.loads(predicted.row["objects"])
    assert len(objects) == 2
    for number, each in enumerate(objects):
        with Image.open(f"mask-{number}.png") as mask:
            assert (np.asarray(mask) == coco_mask.decode(each["segmentation"])).all()
            assert 100 < np.asarray(mask).sum() < 1500


def test_keypoints(run_both, capsys):
    names = ["left 'ear'", "nose"]
    card = ModelCard("keypoints", ["cat", "dog"], [4, 8], 1, keypoint_names=names, least_score=0.3)
    _, predicted = run_both(card, {**_OBJECTS, "keypoints": _POINTS})
    objects = json.loads(predicted.row["objects"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (1 + len(names))
    said = [line.split() for line in lines if line.startswith(" ")]
    expected = [point for each in objects for point in each["keypoints"].values()]
    for line, name, point in zip(said, names * 2, expected, strict=True):
        assert " ".join(line[:-3]) == name
        assert [float(value) for value in line[-3:]] == pytest.approx(point, abs=0.051)


def test_probabilities(run_both, capsys):
    card = ModelCard("binary", ["cat", "dog"], [4, 8], 1)
    _, predicted = run_both(card, {"probabilities": np.array([[0.25, 0.75]], np.float32)})
    assert capsys.readouterr().out == "[0.25 0.75]\n"
    assert [predicted.row["p_cat"], predicted.row["p_dog"]] == [0.25, 0.75]
