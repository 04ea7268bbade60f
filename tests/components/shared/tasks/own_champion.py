"""A model that is compared with itself as the champion."""

import shutil
from pathlib import Path

from kfp_vision.components.evaluation.champion import Champion
from kfp_vision.components.evaluation.champion_rules import Gate
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.champions.known_images import IMAGES_FILE, KnownImages

__all__ = ["decision_on_itself"]


def decision_on_itself(folder: Path) -> str:
    """Returns what is decided between the model of a folder and the same one as exported.

    Args:
        folder: With `dataset`, `model` and `exports`.
    """
    champion = folder / "champion"
    (champion / "model").mkdir(parents=True)
    for name in ("model.keras", "model.json"):
        shutil.copy(folder / "exports" / name, champion / "model" / name)
    info = read_json(DatasetInfo, folder / "dataset/dataset.json")
    KnownImages().updated(folder / "dataset", info.splits).write(champion / IMAGES_FILE)
    found = evaluate_model(
        folder / "dataset",
        folder / "model",
        folder / "again",
        EvaluateConfig(num_resamples=100, num_mistakes=0),
        champion=Champion(Gate(), "champions", "v1", champion),
    )
    assert found.champion is not None
    return found.champion.decision
