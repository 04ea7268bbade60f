"""Boxes and masks of objects go through the stages, from import to export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from own_champion import decision_on_itself
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.training.train import train_model

_MOVES = (Branch(()), *(Branch((Operation(name, 1.0, 1.0),)) for name in ("horizontal_flip",)))
_POLICY = Policy(
    _MOVES, mixing=Mixing(mixup_probability=0.1, cutmix_probability=0.1, mosaic_probability=0.1)
)
_COLOURS = {"red": (220, 50, 40), "blue": (40, 60, 220)}


def _write_scenes(folder: Path) -> Path:
    """Writes images of up to three coloured ellipses on noise, and COCO files of them."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 96), ("val", 24), ("test", 24)):
        (folder / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            pixels = generator.normal(128, 25, (48, 64, 3))
            images.append({"id": index, "file_name": f"{index}.png", "height": 48, "width": 64})
            for place in range(index % 4):
                label = int(generator.integers(2))
                width, height = generator.integers(10, 16, 2).tolist()
                left, top = 20 * place + int(generator.integers(4)), int(generator.integers(30))
                rows, columns = np.mgrid[:48, :64] + 0.5
                across = (2 * (columns - left) / width - 1) ** 2
                mask = across + (2 * (rows - top) / height - 1) ** 2 <= 1
                pixels[mask] = list(_COLOURS.values())[label]
                code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": index,
                        "category_id": label,
                        "bbox": [left, top, width, height],
                        "area": int(mask.sum()),
                        "segmentation": {**code, "counts": code["counts"].decode()},
                        "iscrowd": 0,
                    }
                )
            pixels = (pixels + generator.normal(0, 10, pixels.shape)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}/{index}.png")
        document = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": at, "name": name} for at, name in enumerate(_COLOURS)],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(document))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric", "shapes"),
    [
        ("detection", "map50", {}),
        ("instance_segmentation", "mask_map50", {"masks": (2, 100, 28, 28)}),
    ],
)
def test_objects_are_found(task, metric, shapes, tmp_path):
    source = _write_scenes(tmp_path / "scenes")
    import_dataset(str(source), tmp_path / "dataset", ImportConfig(task=task))
    profile_images(tmp_path / "dataset", Recipe({}), tmp_path / "profile", ProfileConfig())
    recipe = read_recipe(tmp_path / "profile/recipe.json").with_settings(
        "augmentation", {"policy": Setting(_POLICY.to_json(), "test", source="user")}
    )
    write_recipe(recipe, tmp_path / "recipe.json")
    train = UserChoices(batch_size=16, learning_rate=0.01, epochs=12)
    train_model(
        tmp_path / "dataset", tmp_path / "recipe.json", tmp_path / "model", tmp_path / "runs", train
    )
    evaluate_model(
        tmp_path / "dataset", tmp_path / "model", tmp_path / "evaluation", EvaluateConfig()
    )
    evaluation = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    score = evaluation["metrics"]["test"][metric]
    assert score["value"] > 0.5
    assert score["ci95"][0] < score["value"] <= score["ci95"][1]
    assert evaluation["passed"]
    kinds = [each["kind"] for each in evaluation["pictures"]]
    assert kinds == ["worst"] * 6 + ["best"] * 6
    assert {row["class"] for row in evaluation["per_class"]} == set(_COLOURS)
    assert set(evaluation["curves"]["precision_recall"]) == set(_COLOURS)
    exports = export_model(
        tmp_path / "dataset", tmp_path / "evaluation", tmp_path / "exports", ExportConfig()
    )
    reasons = {each.format: each.reason for each in exports if each.reason}
    assert not reasons, reasons
    assert decision_on_itself(tmp_path) == "same"
    session = onnxruntime.InferenceSession(tmp_path / "exports/model.onnx")
    pixels = np.zeros(
        (2, *json.loads((tmp_path / "exports/model.json").read_text())["image_size"], 3)
    )
    names = [each.name for each in session.get_outputs()]
    found = session.run(names, {"pixels": pixels.astype(np.float32)})
    expected = {"boxes": (2, 100, 4), "scores": (2, 100), "classes": (2, 100), **shapes}
    assert {name: each.shape for name, each in zip(names, found, strict=True)} == expected
