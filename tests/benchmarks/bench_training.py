"""Images/s of the training loop against `keras.Model.fit`: same model, batch, data and machine.

Both sides take turns in one process, so that what else the machine does hits both; the ratio is
the median of the paired ratios.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.trainer import Trainer

BATCH, EPOCHS, ROUNDS = 64, 2, 5
# Name -> architecture, pixels a side, channels, images.
CASES = {"separable_28": ("separable", 28, 1, 8192), "separable_64": ("separable", 64, 3, 2048)}


class ArraySource:
    """Images that are decoded already, as `ImageSource` holds them."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self.images_per_batch = BATCH

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self._images[indices]


def compare(architecture: str, size: int, channels: int, num_images: int) -> dict[str, float]:
    """Returns images/s of both loops and their ratio."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (num_images, size, size, channels), np.uint8)
    labels = generator.integers(0, 10, num_images).astype(np.int32)
    task = get_task("multiclass")
    recipe = hyperparameters.resolve(Recipe(), {"batch_size": BATCH, "epochs": EPOCHS}, num_images)
    settings = hyperparameters.from_recipe(recipe)
    shape = (size, size, channels)

    ours = Trainer(build_model(architecture, task, shape, 10), task, settings)
    source: Any = ArraySource(images)
    first: Any = ArraySource(images[:64])
    data = LabelledImages(source, lambda rows: {"label": labels[rows]})
    held_out = LabelledImages(first, lambda rows: {"label": labels[rows]})
    rival = build_model(architecture, task, shape, 10)
    rival.compile(
        keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def our_seconds() -> float:
        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(
                ours,
                task,
                data,
                held_out,
                primary_metric="accuracy",
                checkpoint_dir=Path(folder),
                start=lambda s: History(s, s.steps, {"initial_loss": 9.0}),
            )
            history = fit(run, settings)
        return history.step_seconds

    def keras_seconds() -> float:
        started = time.monotonic()
        rival.fit(images, labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        return time.monotonic() - started

    our_seconds(), keras_seconds()
    pairs = [(our_seconds(), keras_seconds()) for _ in range(ROUNDS)]
    seen = settings.steps * BATCH
    return {
        "kfp_vision": seen / statistics.median(pair[0] for pair in pairs),
        "keras_fit": num_images * EPOCHS / statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(pair[1] / pair[0] for pair in pairs),
    }


def main() -> None:
    """Prints one line per case and the result."""
    result = {}
    for name, case in CASES.items():
        result[name] = compare(*case)
        print(name, result[name], flush=True)
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
