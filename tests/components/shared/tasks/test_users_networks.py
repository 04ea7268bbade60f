"""A network that a user brings learns every task whose targets lie in the image."""

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from keras import layers
from PIL import Image, ImageDraw
from scenes import write_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.training.train import train_model

_SPLITS = {"train": 48, "val": 8, "test": 8}
_SPATIAL = [name for name, facts in TASKS.items() if facts.is_spatial]


def _classifier() -> keras.Model:
    """Returns what a team has: a network of whole images with classes of its own."""
    pixels = keras.Input((48, 64, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    for width in (16, 32, 48):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, layers.Dense(7, activation="softmax")(x))


def _write_masks(folder):
    """Writes scenes with a class a pixel: a sky, a ground and a box."""
    random = np.random.default_rng(0)
    for split, count in _SPLITS.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = Image.new("L", (64, 48))
            draw = ImageDraw.Draw(mask)
            draw.rectangle([0, int(random.integers(20, 40)), 64, 48], fill=1)
            left, top = random.integers(0, 36, 2).tolist()
            draw.rectangle([left, top, left + 16, top + 12], fill=2)
            mask.save(folder / f"{split}/masks/{index}.png")
            colours = np.array([[90, 140, 220], [70, 130, 60], [200, 60, 50]])
            pixels = colours[np.asarray(mask)] + random.normal(0, 20, (48, 64, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / f"{split}/images/{index}.png"
            )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", _SPATIAL)
def test_a_classifier_becomes_a_network_of_the_task(task, tmp_path):
    write = write_scenes if "boxes" in TASKS[task].columns else lambda root, _: _write_masks(root)
    source, dataset = write(tmp_path / "scenes", _SPLITS), tmp_path / "dataset"
    assert import_dataset(str(source), dataset, ImportConfig(task=task)).task == task
    profile_images(dataset, Recipe({}), tmp_path / "profile", ProfileConfig())
    _classifier().save(tmp_path / "mine.keras")
    choices = UserChoices(
        architecture=str(tmp_path / "mine.keras"), batch_size=8, epochs=6, learning_rate=0.005
    )
    recipe = tmp_path / "profile/recipe.json"
    train_model(dataset, recipe, tmp_path / "model", tmp_path / "runs", choices)
    rows = pq.read_table(tmp_path / "model/curves.parquet").to_pylist()
    losses = [
        row["value"] for row in rows if (row["split"], row["metric"]) == ("validation", "loss")
    ]
    assert losses[-1] < 0.8 * losses[0]
    model = keras.models.load_model(tmp_path / "model/model.keras", safe_mode=True)
    assert model.input_shape == (None, 48, 64, 3)
