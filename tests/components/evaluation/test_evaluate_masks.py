"""Masks are judged at their own size, by the masks that `predict` writes.

The model is a formula: the class whose colour is nearest, in a blurred image of 18 x 26 pixels. The
scenes are larger, and of three widths.
"""

import io
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scenes import write_mask_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.evaluation.champion import Champion, _is_same
from kfp_vision.components.evaluation.champion_rules import Gate
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.champions.known_images import IMAGES_FILE, KnownImages
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.pipelines.serving.predict import Model

_CLASSES = ["sky", "ground", "box"]
_COLOURS = np.array([[90, 140, 220], [70, 130, 60], [200, 60, 50]], np.float32)


def _nearest_colour(size: tuple[int, int, int]) -> keras.Model:
    pixels = keras.Input(size)
    blurred = keras.layers.AveragePooling2D(3, strides=1, padding="same")(pixels)
    # -|x - c|^2 less what all classes share.
    layer = keras.layers.Conv2D(3, 1)
    logits = layer(blurred)
    layer.set_weights([2 * _COLOURS.T[None, None] / 1000, -np.square(_COLOURS).sum(1) / 1000])
    return keras.Model(pixels, logits)


def _always_ground(size: tuple[int, int, int]) -> keras.Model:
    """Returns a model that gives probabilities, as a champion does."""
    pixels = keras.Input(size)
    bias = keras.initializers.Constant([0.0, 3.0, 0.0])
    layer = keras.layers.Conv2D(3, 1, kernel_initializer="zeros", bias_initializer=bias)
    return keras.Model(pixels, keras.layers.Softmax()(layer(pixels)))


def _write_champion(folder: Path) -> Champion:
    (folder / "model").mkdir(parents=True)
    _always_ground((8, 8, 3)).save(folder / "model/model.keras")
    card = ModelCard("semantic_segmentation", _CLASSES, [8, 8], 3)
    write_json(card, folder / "model/model.json")
    KnownImages().write(folder / IMAGES_FILE)
    return Champion(Gate(), "champions", "v1", folder)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("judged")
    source = write_mask_scenes(folder / "scenes", {"train": 6, "val": 6, "test": 9})
    import_dataset(str(source), folder / "dataset", ImportConfig())
    (folder / "model").mkdir()
    _nearest_colour((18, 26, 3)).save(folder / "model/model.keras")
    data = {"primary_metric": Setting("mean_iou", "test"), "positive_class": Setting(None, "test")}
    write_recipe(Recipe({"data": data}), folder / "model/recipe.json")
    evaluation = evaluate_model(
        folder / "dataset",
        folder / "model",
        folder / "evaluation",
        EvaluateConfig(num_resamples=100, num_mistakes=4),
        champion=_write_champion(folder / "champion"),
    )
    return folder, evaluation


def _true_masks(folder: Path) -> dict[str, np.ndarray]:
    paths = (folder / "scenes/test/masks").iterdir()
    return {path.stem: np.asarray(Image.open(path)) for path in paths}


def _measured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Returns the metrics of (true, predicted) masks, by their definitions."""
    known = [true != 255 for true, _ in pairs]
    true, said = (
        np.concatenate([pair[place][each] for pair, each in zip(pairs, known, strict=True)])
        for place in (0, 1)
    )
    shared = np.array([((true == label) & (said == label)).sum() for label in range(3)])
    both = np.array([(true == label).sum() + (said == label).sum() for label in range(3)])
    return {
        "mean_iou": float((shared / (both - shared)).mean()),
        "mean_dice": float((2 * shared / both).mean()),
        "pixel_accuracy": float((true == said).mean()),
    }


def test_metrics_are_those_of_the_masks_that_predict_writes(judged):
    folder, evaluation = judged
    card = ModelCard("semantic_segmentation", _CLASSES, [18, 26], 3)
    write_json(card, folder / "evaluation/model.json")
    model = Model(folder / "evaluation/model.keras")
    truth, pairs = _true_masks(folder), {}
    for each in model.stream([str(folder / "scenes/test/images")], with_files=True):
        stem = Path(each.name).stem
        written = np.asarray(Image.open(io.BytesIO(each.files[f"masks/{stem}.png"])))
        assert written.shape == truth[stem].shape
        pairs[stem] = (truth[stem], written)
    assert len({true.shape for true, _ in pairs.values()}) == 3
    expected = _measured([*pairs.values()])
    found = {name: score["value"] for name, score in evaluation.metrics["test"].items()}
    assert found == pytest.approx(expected, abs=1e-6)
    assert 0.6 < found["mean_iou"] < 1.0
    assert np.sum(evaluation.confusion) == sum((true != 255).sum() for true, _ in pairs.values())
    table = pq.read_table(folder / "evaluation/predictions.parquet").to_pylist()
    for row in table:
        image = _measured([pairs[Path(row["path"]).stem]])
        assert row["mean_iou"] == pytest.approx(image["mean_iou"])
        assert row["pixel_accuracy"] == pytest.approx(image["pixel_accuracy"])


def test_baselines_and_champion_are_judged_by_the_same_masks(judged):
    """The champion takes 8 x 8 pixels, and says what the zero rule says: ground everywhere."""
    folder, evaluation = judged
    truth = _true_masks(folder).values()
    expected = _measured([(mask, np.ones_like(mask)) for mask in truth])
    rule = evaluation.baselines["zero_rule"]
    whole = evaluation.champion.parts[0]
    # No sky and no box is right.
    ground = sum((mask == 1).sum() for mask in truth) / sum((mask != 255).sum() for mask in truth)
    assert expected["mean_iou"] == pytest.approx(ground / 3)
    assert {name: score["value"] for name, score in rule.items()} == pytest.approx(expected)
    assert whole.champion["value"] == pytest.approx(expected["mean_iou"])
    assert whole.difference["value"] == pytest.approx(rule["mean_iou"]["difference"]["value"])
    assert math.isclose(whole.model["value"], evaluation.metrics["test"]["mean_iou"]["value"])


def test_a_pixel_that_rounding_moves_makes_no_other_model():
    """Of a probability 1e-4 is too much, and of classes one."""
    pixels = np.array([[172_800, 40], [90_000, 82_800]])
    assert _is_same(pixels, pixels + [[-1, 1], [0, 0]])
    assert not _is_same(pixels, pixels + [[-3, 3], [0, 0]])
    for held, other in ((np.array([0.5, 0.5]), 1e-4), (np.array([0, 999]), 1)):
        assert _is_same(held, held)
        assert not _is_same(held, held + other)
    far = np.array([np.inf, 0.1])
    assert _is_same(far, far)
    assert not _is_same(far, np.array([np.inf, 0.2]))
