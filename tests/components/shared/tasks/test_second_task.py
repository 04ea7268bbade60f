"""A task of another kind goes through the stages with a task and a reader alone."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import segmentation
from PIL import Image

from kfp_vision.components.data_import import readers
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.training.train import train_model

_CAMVID = Path(__file__).parents[5] / "shared/data/camvid-masks.tar"
_MOVES = tuple(Branch((Operation(name, 1.0, 1.0),)) for name in ("rotate", "zoom_in", "shear_x"))
_POLICY = Policy(_MOVES, mixing=Mixing(mixup_probability=0.2, cutmix_probability=0.3))


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(TASKS, "semantic_segmentation", segmentation.FACTS)
    monkeypatch.setitem(readers.FORMATS, "mask_folders", segmentation.read_mask_folders)


def _write_scenes(folder: Path) -> Path:
    """Writes scenes of a sky, a ground and a box, whose colours and noise vary."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 81), ("val", 24), ("test", 24)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            height, width = 36, 48 + 4 * (index % 3)
            mask = np.zeros((height, width), np.uint8)
            mask[generator.integers(12, 24) :] = 1
            top, left = generator.integers(0, 20, 2)
            mask[top : top + 12, left : left + 16] = 2
            colours = np.array([[90, 140, 220], [70, 130, 60], [200, 60, 50]])
            pixels = colours[mask] + generator.normal(0, 25, (height, width, 3))
            mask[:2] = segmentation.IGNORED
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / f"{split}/images/{index}.png"
            )
            Image.fromarray(mask).save(folder / f"{split}/masks/{index}.png")
    (folder / "classes.txt").write_text("sky\nground\nbox\n")
    Image.new("L", (5, 5)).save(folder / "train/masks/0.png")
    return folder


def _run(source: Path, folder: Path, side: int, epochs: int) -> dict[str, Any]:
    """Imports, profiles, trains, evaluates and exports; returns `evaluation.json`."""
    config = ImportConfig(dataset_format="mask_folders")
    import_dataset(str(source), folder / "dataset", config)
    profile_images(folder / "dataset", Recipe({}), folder / "profile", ProfileConfig())
    recipe = read_recipe(folder / "profile/recipe.json").with_settings(
        "augmentation", {"policy": Setting(_POLICY.to_json(), "test", source="user")}
    )
    write_recipe(recipe, folder / "recipe.json")
    train = UserChoices(image_size=side, batch_size=16, learning_rate=0.01, epochs=epochs)
    train_model(
        folder / "dataset", folder / "recipe.json", folder / "model", folder / "runs", train
    )
    evaluate_model(folder / "dataset", folder / "model", folder / "evaluation", EvaluateConfig())
    return json.loads((folder / "evaluation/evaluation.json").read_text())


def test_segmentation_is_a_task_and_a_reader(tmp_path):
    evaluation = _run(_write_scenes(tmp_path / "scenes"), tmp_path, 32, 10)
    info = json.loads((tmp_path / "dataset/dataset.json").read_text())
    assert (info["classes"], info["rejected"]) == (["sky", "ground", "box"], {"mask_size": 1})
    assert json.loads((tmp_path / "model/training.json").read_text())["steps"] == 50
    score = evaluation["metrics"]["test"]["mean_iou"]
    assert score["value"] > evaluation["baselines"]["zero_rule"]["mean_iou"]["value"] + 0.2
    assert score["ci95"][0] < score["value"] < score["ci95"][1]
    assert evaluation["passed"]
    exports = export_model(
        tmp_path / "dataset", tmp_path / "evaluation", tmp_path / "exports", ExportConfig()
    )
    passed = {each.format: each.reason for each in exports if not each.passed}
    assert not set(passed) & {"keras", "saved_model", "onnx"}, passed
    session = onnxruntime.InferenceSession(tmp_path / "exports/model.onnx")
    mask, stuff = session.run(["mask", "stuff"], {"pixels": np.zeros((3, 32, 32, 3), np.float32)})
    assert (mask.shape[0], mask.shape[-1], stuff.shape) == (3, 3, (3, 3))


@pytest.mark.slow
@pytest.mark.skipif(not _CAMVID.exists(), reason="camvid-masks.tar is not beside the repository")
def test_segmentation_learns_real_scenes(tmp_path):
    with tarfile.open(_CAMVID) as archive:
        archive.extractall(tmp_path / "camvid", filter="data")
    (source,) = {path.parent for path in (tmp_path / "camvid").rglob("classes.txt")}
    evaluation = _run(source, tmp_path, 64, 8)
    baseline = evaluation["baselines"]["zero_rule"]["mean_iou"]["value"]
    assert evaluation["metrics"]["test"]["mean_iou"]["value"] > baseline + 0.1
