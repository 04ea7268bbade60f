"""What the images with labels tell of what models say."""

from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting


@pytest.mark.parametrize("weights", [None, [1.0, 3.0] * 5])
def test_images_judge_by_the_class_weights_of_the_trainings(
    few_labels_dir: Path, tmp_path: Path, weights: list[float] | None
) -> None:
    model = {"image_size": Setting([16, 16], "test")}
    data = {"class_weights": Setting(weights, "test")}
    recipe = Recipe({"data": data, "model": model})
    info = read_json(DatasetInfo, few_labels_dir / "dataset.json")
    pool = Pool(few_labels_dir, info, recipe, tmp_path, None, lambda: None)
    judging = np.arange(20, 60)
    labels = [
        images.read_targets(rows)["label"]
        for images, rows in ((pool.train, judging), (pool.validation, np.arange(200)))
    ]
    counted = np.array(weights or [1.0] * 10)[np.concatenate(labels)]
    # Of a model that knows nothing.
    losses = pool.losses(np.zeros((260, 10)), judging)
    np.testing.assert_allclose(losses, counted * np.log(10), rtol=1e-5)
