"""A real dataset in the store and a network trained on it, for every task."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe

_SPLITS = {"train": slice(0, 1000), "validation": slice(1000, 1300), "test": slice(1300, None)}
_PRIMARY = {
    "binary": "balanced_accuracy",
    "multiclass": "accuracy",
    "multilabel": "mean_average_precision",
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A dataset artifact and a model artifact."""

    task: str
    dataset_dir: Path
    model_dir: Path
    images: np.ndarray
    labels: list[list[int]]


def digit_labels(task: str, digit: int) -> list[int]:
    if task == "multiclass":
        return [digit]
    if task == "binary":
        return [int(digit >= 5)]
    return [index for index, holds in enumerate((digit % 2 == 0, digit >= 5, digit == 0)) if holds]


CLASSES = {
    "binary": ["low", "high"],
    "multiclass": [f"digit {index}" for index in range(10)],
    "multilabel": ["even", "high", "zero"],
}


def write_dataset(
    folder: Path,
    task: str,
    images: np.ndarray,
    labels: list[list[int]],
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Writes images [N, 8, 8, 1] to the splits, by default 1000, 300 and the rest of them."""
    folder.mkdir()
    rows_of = splits or {name: range(*rows.indices(len(images))) for name, rows in _SPLITS.items()}
    for split, rows in rows_of.items():
        with SplitWriter(folder, split) as writer:
            for index in rows:
                digest = hashlib.sha256(images[index].tobytes()).digest()
                writer.write(
                    {
                        "image": encode_raw(images[index]),
                        "encoding": "raw",
                        "height": 8,
                        "width": 8,
                        "channels": 1,
                        "labels": labels[index],
                        "path": f"{split}/{index}.png",
                        "sha256": digest,
                        "source_sha256": digest,
                        "signature": bytes(64),
                    }
                )
    info = DatasetInfo(
        task=task,
        classes=CLASSES[task],
        splits={name: len(rows) for name, rows in rows_of.items()},
        channels=1,
        median_height=8,
        median_width=8,
        fingerprint="0" * 64,
        source_uri="sklearn.datasets.load_digits",
        source_format="test",
        split_origin=dict.fromkeys(rows_of, "given"),
        rejected={},
        notes=[],
    )
    write_json(info, folder / "dataset.json")


def data_recipe(task: str, primary: str, positive: str = "high") -> Recipe:
    """Returns what the profile says of the digits, as far as an evaluation reads it."""
    positive_class = Setting(None, "test")
    if task == "binary":
        positive_class = Setting(positive, "test", {"train_share": 0.5})
    return Recipe(
        {"data": {"primary_metric": Setting(primary, "test"), "positive_class": positive_class}}
    )


def train(task: str, images: np.ndarray, labels: list[list[int]]) -> keras.Model:
    """Trains a small depthwise network, like the default of kfp-vision, to real logits."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(32, 1, activation="relu")(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(len(CLASSES[task]))(x))
    if task == "multilabel":
        targets = np.array([[c in row for c in range(3)] for row in labels], np.float32)
        loss: keras.Loss = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        targets = np.array([row[0] for row in labels])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    rows = _SPLITS["train"]
    model.fit(images[rows], targets[rows], batch_size=50, epochs=8, verbose=0)
    return model


def write_trained(folder: Path, task: str) -> Trained:
    """Writes the digits as `task` and the network trained on them."""
    digits = load_digits()
    images = (digits.images * 15.9).astype(np.uint8)[..., None]
    labels = [digit_labels(task, digit) for digit in digits.target]
    write_dataset(folder / "dataset", task, images, labels)
    (folder / "model").mkdir()
    train(task, images, labels).save(folder / "model/model.keras")
    write_recipe(data_recipe(task, _PRIMARY[task]), folder / "model/recipe.json")
    return Trained(task, folder / "dataset", folder / "model", images, labels)
