"""Keypoints of several objects go through the stages: import, training, evaluation and export."""

import json

import numpy as np
import onnxruntime
import pytest
from own_champion import decision_on_itself
from scenes import KEYPOINTS, write_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.training.train import train_model

_OPERATIONS = (Operation("horizontal_flip", 1.0, 1.0), Operation("rotate", 0.0, 0.5))
_MOVES = (Branch(()), *(Branch((each,)) for each in _OPERATIONS))
_POLICY = Policy(
    _MOVES, mixing=Mixing(mixup_probability=0.1, cutmix_probability=0.1, mosaic_probability=0.1)
)


@pytest.mark.slow
def test_keypoints_are_found(tmp_path):
    source = write_scenes(tmp_path / "scenes", {"train": 160, "val": 24, "test": 24})
    info = import_dataset(str(source), tmp_path / "dataset", ImportConfig())
    assert (info.task, info.keypoint_swaps) == ("keypoints", [[2, 3]])
    profile_images(tmp_path / "dataset", Recipe({}), tmp_path / "profile", ProfileConfig())
    recipe = read_recipe(tmp_path / "profile/recipe.json").with_settings(
        "augmentation", {"policy": Setting(_POLICY.to_json(), "test", source="user")}
    )
    write_recipe(recipe, tmp_path / "recipe.json")
    train = UserChoices(batch_size=16, learning_rate=0.01, epochs=30)
    train_model(
        tmp_path / "dataset", tmp_path / "recipe.json", tmp_path / "model", tmp_path / "runs", train
    )
    evaluate_model(
        tmp_path / "dataset", tmp_path / "model", tmp_path / "evaluation", EvaluateConfig()
    )
    evaluation = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    score = evaluation["metrics"]["test"]["pck"]
    assert score["value"] > 0.8
    assert score["ci95"][0] < score["value"] <= score["ci95"][1]
    assert evaluation["metrics"]["test"]["oks_map50"]["value"] > 0.5
    assert set(evaluation["baselines"]) == {"zero_rule", "nearest_image"}
    assert evaluation["passed"]
    assert [each["keypoint"] for each in evaluation["per_keypoint"]] == list(KEYPOINTS)
    assert {each["kind"] for each in evaluation["pictures"]} == {"worst", "best"}
    exports = export_model(
        tmp_path / "dataset", tmp_path / "evaluation", tmp_path / "exports", ExportConfig()
    )
    reasons = {each.format: each.reason for each in exports if each.reason}
    assert not reasons, reasons
    assert decision_on_itself(tmp_path) == "same"
    card = json.loads((tmp_path / "exports/model.json").read_text())
    assert card["keypoint_names"] == list(KEYPOINTS)
    session = onnxruntime.InferenceSession(tmp_path / "exports/model.onnx")
    pixels = np.zeros((2, *card["image_size"], 3), np.float32)
    (keypoints,) = session.run(["keypoints"], {"pixels": pixels})
    assert keypoints.shape == (2, 100, len(KEYPOINTS), 3)
