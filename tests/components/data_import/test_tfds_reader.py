"""A set that TFDS itself prepared, on this machine, from our own builder."""

from typing import Any

import numpy as np
import pytest

tfds = pytest.importorskip("tensorflow_datasets")

from kfp_vision.components.shared.datasets.store import (  # noqa: E402
    iterate_images,
    open_split,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 6, 5, 3), np.uint8)


_Builder: Any = tfds.core.GeneratorBasedBuilder


class TwoColours(_Builder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(6, 5, 3)),
            "label": tfds.features.ClassLabel(names=["red", "blue"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 16), "test": self._generate_examples(16, 24)}

    def _generate_examples(self, start, end):
        for index in range(start, end):
            yield index, {"image": PIXELS[index], "label": index % 2}


def test_a_prepared_set_keeps_pixels_labels_and_splits(tmp_path, monkeypatch, import_into):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    TwoColours(data_dir=tmp_path / "tfds").download_and_prepare()
    info, output_dir = import_into("tfds:two_colours")
    assert (info.source_format, info.task) == ("tfds", "binary")
    assert info.classes == ["blue", "red"]
    assert info.splits == {"train": 14, "validation": 2, "test": 8}
    table = open_split(output_dir, "test")
    stored = zip(iterate_images(table, range(8)), table["labels"].to_pylist(), strict=True)
    assert {pixels.tobytes(): info.classes[label] for pixels, (label,) in stored} == {
        PIXELS[index].tobytes(): ["red", "blue"][index % 2] for index in range(16, 24)
    }


class PartlyLabelled(TwoColours):
    def _generate_examples(self, start, end):
        for index in range(start, end):
            yield index, {"image": PIXELS[index], "label": -1 if index % 4 == 3 else index % 2}


def test_the_label_of_an_image_that_has_none_is_no_class(tmp_path, monkeypatch, import_into):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    PartlyLabelled(data_dir=tmp_path / "tfds").download_and_prepare()
    info, _ = import_into("tfds:partly_labelled")
    assert (info.task, info.classes) == ("binary", ["blue", "red"])
    assert info.rejected == {"negative_label": 6}
