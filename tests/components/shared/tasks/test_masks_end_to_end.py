"""Masks go through the stages: import, profile, training, evaluation and export."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from own_champion import decision_on_itself
from PIL import Image
from scenes import write_mask_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

_CAMVID = Path(__file__).parents[5] / "shared/data/camvid-masks.tar"
_MOVES = tuple(Branch((Operation(name, 1.0, 1.0),)) for name in ("rotate", "zoom_in", "shear_x"))
_POLICY = Policy(
    _MOVES, mixing=Mixing(mixup_probability=0.2, cutmix_probability=0.2, mosaic_probability=0.2)
)


def _run(source: Path, folder: Path, side: int, epochs: int) -> dict[str, Any]:
    """Imports, profiles, trains, evaluates and exports; returns `evaluation.json`."""
    import_dataset(str(source), folder / "dataset", ImportConfig())
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
    source = write_mask_scenes(tmp_path / "scenes", {"train": 81, "val": 24, "test": 24})
    Image.new("L", (5, 5)).save(source / "train/masks/0.png")
    evaluation = _run(source, tmp_path, 32, 10)
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
    reasons = {each.format: each.reason for each in exports if each.reason}
    assert not reasons, reasons
    session = onnxruntime.InferenceSession(tmp_path / "exports/model.onnx")
    (p,) = session.run(["mask_probabilities"], {"pixels": np.zeros((3, 32, 32, 3), np.float32)})
    assert p.shape == (3, 32, 32, 3)
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-5)
    assert decision_on_itself(tmp_path) == "same"
    kinds = [each["kind"] for each in evaluation["pictures"]]
    assert kinds == ["worst"] * 6 + ["best"] * 6
    scores = [each["score"] for each in evaluation["pictures"]]
    assert max(scores[:6]) <= min(scores[6:])
    # The two upper of 36 rows are unknown; a third of the images is of each width.
    assert sum(map(sum, evaluation["confusion"])) == 8 * 34 * (48 + 52 + 56)


@pytest.mark.slow
@pytest.mark.skipif(not _CAMVID.exists(), reason="camvid-masks.tar is not beside the repository")
def test_segmentation_learns_real_scenes(tmp_path):
    with tarfile.open(_CAMVID) as archive:
        archive.extractall(tmp_path / "camvid", filter="data")
    (source,) = {path.parent for path in (tmp_path / "camvid").rglob("classes.txt")}
    evaluation = _run(source, tmp_path, 64, 8)
    baseline = evaluation["baselines"]["zero_rule"]["mean_iou"]["value"]
    assert evaluation["metrics"]["test"]["mean_iou"]["value"] > baseline + 0.1
