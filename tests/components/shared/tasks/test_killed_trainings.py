"""A kill changes nothing, whatever objects a training learns."""

import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from scenes import write_scenes

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.training.checkpoints import read_checkpoint

_OBJECTS = [name for name, facts in TASKS.items() if "boxes" in facts.columns]
_RUN = """
import sys
from pathlib import Path
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.training.train import train_model
choices = UserChoices(architecture="separable", batch_size=8, epochs=8, learning_rate=0.01, seed=3)
train_model(*map(Path, sys.argv[1:5]), choices)
"""


def _steps_done(checkpoints):
    states = [read_checkpoint(path) for path in checkpoints.glob("*/state.npz")]
    return max((state[1]["step"] for state in states if state), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", _OBJECTS)
def test_killed_and_resumed_equals_uninterrupted(task, tmp_path):
    source = write_scenes(tmp_path / "scenes", {"train": 48, "val": 8, "test": 8})
    dataset = tmp_path / "dataset"
    assert import_dataset(str(source), dataset, ImportConfig(task=task)).task == task
    profile_images(dataset, Recipe({}), tmp_path / "profile", ProfileConfig())

    def command(name):
        folders = (
            dataset,
            tmp_path / "profile/recipe.json",
            tmp_path / name,
            tmp_path / f"{name}-runs",
        )
        return [sys.executable, "-c", _RUN, *map(str, folders)]

    subprocess.run(command("whole"), stdout=subprocess.DEVNULL, check=True)
    killed = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
    while not _steps_done(tmp_path / "killed-runs") and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed/training.json").exists()
    subprocess.run(command("killed"), stdout=subprocess.DEVNULL, check=True)
    models = [keras.models.load_model(tmp_path / n / "model.keras") for n in ("whole", "killed")]
    for left, right in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(np.array(left), np.array(right))
