"""Splits of more than 2 GiB, which the offsets of a `binary` array cannot count."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.datasets.store import (
    SCHEMA,
    SplitWriter,
    encode_raw,
    open_split,
)
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe

_SIDE = 1024
# Of 20 images, 60 MiB each.
_BATCHES = 36
_SPLITS = ("train", "validation", "test")


def _write_dataset(folder: Path) -> None:
    """Writes dark and bright images; the three splits are one file of 2.1 GiB."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for index in range(20):
        level = 60 if index % 2 else 190
        noise = generator.integers(-40, 40, (_SIDE, _SIDE, 1)).repeat(3, axis=2)
        rows.append(
            {
                "image": encode_raw(level + noise),
                "encoding": "raw",
                "height": _SIDE,
                "width": _SIDE,
                "channels": 3,
                "labels": [index % 2],
                "path": f"{index}.png",
                "sha256": hashlib.sha256(bytes([index])).digest(),
                "signature": bytes(64),
            }
        )
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    with SplitWriter(folder, "train") as writer:
        for _ in range(_BATCHES):
            writer.write_batch(batch)
    for split in _SPLITS[1:]:
        (folder / f"{split}.arrow").hardlink_to(folder / "train.arrow")
    info = DatasetInfo(
        task="binary",
        classes=["bright", "dark"],
        splits=dict.fromkeys(_SPLITS, 20 * _BATCHES),
        channels=3,
        median_height=_SIDE,
        median_width=_SIDE,
        fingerprint="0" * 64,
        source_uri="made here",
        source_format="test",
        split_origin=dict.fromkeys(_SPLITS, "given"),
        rejected={},
        notes=[],
    )
    write_json(info, folder / "dataset.json")


def _write_model(folder: Path) -> None:
    """Writes a network of 32 px that knows bright from dark without training."""
    folder.mkdir()
    pixels = keras.Input((32, 32, 3))
    brightness = keras.layers.GlobalAveragePooling2D()(pixels)
    head = keras.layers.Dense(2)
    model = keras.Model(pixels, head(brightness))
    head.set_weights([np.array([[0.01, -0.01]] * 3), np.array([-3.75, 3.75])])
    model.save(folder / "model.keras")
    data = {
        "primary_metric": Setting("balanced_accuracy", "test"),
        "positive_class": Setting("dark", "test", {"train_share": 0.5}),
    }
    write_recipe(Recipe({"data": data}), folder / "recipe.json")


@pytest.mark.slow
def test_a_split_of_more_than_two_gib_is_evaluated_and_exported(tmp_path: Path) -> None:
    dataset, model, evaluated = (tmp_path / name for name in ("dataset", "model", "evaluated"))
    _write_dataset(dataset)
    _write_model(model)
    try:
        table = open_split(dataset, "train")
        assert table["image"].nbytes > 2**31
        assert table["labels"].to_pylist()[-2:] == [[0], [1]]
        evaluation = evaluate_model(dataset, model, evaluated, EvaluateConfig(num_resamples=100))
        exports = export_model(dataset, evaluated, tmp_path / "exports", ExportConfig())
    finally:
        for split in _SPLITS:
            (dataset / f"{split}.arrow").unlink()
    assert evaluation.metrics["test"]["accuracy"]["value"] == 1.0
    assert len(evaluation.mistakes) == 0
    assert [export.format for export in exports if not export.passed] == []
    assert all(export.num_images == 20 * _BATCHES for export in exports)
