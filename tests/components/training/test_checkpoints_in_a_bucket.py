"""A training killed without a warning goes on elsewhere, with an empty disk, from the bucket."""

import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
from kfp_vision.components.training.train import train_model

_EPOCHS = 30
_RUN = """
import sys
from pathlib import Path
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.storage import mirrors
from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
from kfp_vision.components.training.train import train_model
mirrors._PERIOD_S = 0.01
dataset, recipe, output = map(Path, sys.argv[1:4])
config = UserChoices(architecture=sys.argv[5], epochs=int(sys.argv[6]), seed=3)
with checkpoint_folder(sys.argv[4]) as checkpoints:
    train_model(dataset, recipe, output, checkpoints, config)
"""


def _generations(uri):
    store, prefix = open_bucket("s3", "bucket"), uri.removeprefix("s3://bucket/")
    return [found.key for found in store.objects(prefix) if "/generations/" in found.key]


def _weights(folder):
    return [np.array(each) for each in keras.models.load_model(folder / "model.keras").weights]


@pytest.mark.slow
def test_killed_and_resumed_elsewhere_equals_uninterrupted(
    s3, digits_dir, small_model, tmp_path, capfd
):
    data = {"class_weights": None, "primary_metric": "accuracy"}
    settings = {name: Setting(value, "balanced") for name, value in data.items()}
    recipe = Recipe().with_settings("data", settings)
    average = {"ema_momentum": Setting(0.9, "test", source="user")}
    write_recipe(recipe.with_settings("training", average), tmp_path / "recipe.json")
    config = UserChoices(architecture=small_model, epochs=_EPOCHS, seed=3)
    given = (digits_dir, tmp_path / "recipe.json")
    train_model(*given, tmp_path / "whole", tmp_path / "whole-checkpoints", config)

    arguments = [*given, tmp_path / "killed", s3, small_model, str(_EPOCHS)]
    killed = subprocess.Popen([sys.executable, "-c", _RUN, *map(str, arguments)])
    end = time.monotonic() + 300
    while not any(int(key[-13:-5]) >= 3 for key in _generations(s3)) and time.monotonic() < end:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "training.json").exists()
    # The newest state is torn: the one before counts.
    store = open_bucket("s3", "bucket")
    newest = max(_generations(s3))
    content = store.reader.get(newest).bytes().to_bytes()
    store.put(content[: len(content) // 2], newest)

    capfd.readouterr()
    with checkpoint_folder(s3) as checkpoints:
        train_model(*given, tmp_path / "resumed", checkpoints, config)
    assert f"damaged and not used: {newest}" in capfd.readouterr().out
    for left, right in zip(
        _weights(tmp_path / "whole"), _weights(tmp_path / "resumed"), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert len(_generations(s3)) == 2
