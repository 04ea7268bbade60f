from pathlib import Path

import numpy as np
import pytest
from report_artifacts import Artifacts, classification_run
from report_cases import CASES
from sklearn.datasets import load_digits

from kfp_vision.components.reporting.build import build_report


@pytest.fixture(scope="session")
def digits_run() -> Artifacts:
    """The artifacts of a run on scikit-learn's digits."""
    digits = load_digits()
    images = (digits.images * 15.9).astype(np.uint8)
    return classification_run(images, digits.target, [str(name) for name in range(10)], 1000)


@pytest.fixture(scope="session")
def reports(digits_run: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Case -> the folder of its report."""
    folders = {}
    for index, (name, change) in enumerate(CASES.items()):
        root = tmp_path_factory.mktemp(f"case{index}")
        folders[name] = root / "report"
        build_report(change(digits_run).write(root), folders[name])
    return folders
