import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo

_SEEDS = itertools.count()


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Returns uint8 [height, width, 3] pixels that are different in every call."""

    def make(height: int = 12, width: int = 10) -> np.ndarray:
        return np.random.default_rng(next(_SEEDS)).integers(0, 256, (height, width, 3), np.uint8)

    return make


@pytest.fixture
def save_images(noise: Callable[..., np.ndarray]) -> Callable[..., list[str]]:
    """Writes `count` PNG files of noise into a folder and returns their names."""

    def save(folder: Path, count: int = 10) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{index}.png" for index in range(count)]
        for name in names:
            Image.fromarray(noise()).save(folder / name)
        return names

    return save


@pytest.fixture
def import_into(tmp_path: Path) -> Callable[..., tuple[DatasetInfo, Path]]:
    """Imports a source into a new folder."""

    def run(uri: object, **config: Any) -> tuple[DatasetInfo, Path]:
        output_dir = tmp_path / f"imported-{next(_SEEDS)}"
        return import_dataset(str(uri), output_dir, ImportConfig(**config)), output_dir

    return run
