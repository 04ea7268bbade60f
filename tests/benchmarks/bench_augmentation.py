"""Images/s of the augmentation engine against its rivals and a copy, and what a step pays for it.

The same operations for all, every one active for every image: flip, rotation, shear, translation,
zoom, colour jitter. Everybody gets a NumPy batch and ends with one in memory; what TensorFlow has
computed stays its own, as in a training step. Everybody takes turns in one process, so that what
else the machine does hits everybody. A turn repeats its call for a fifth of a second, as training
does: the first call after an idle while takes twice as long, because a second thread has to wake
up, which would be the whole turn of a fast rival and nothing to a slow one. Images/s are medians of
rounds, ratios medians of the rounds' ratios.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import albumentations
import cv2
import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import batch_keys
from kfp_vision.components.shared.augmentation.known_policies import trivial_augment
from kfp_vision.components.shared.augmentation.policy import (
    Branch,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import from_recipe, resolve
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.trainer import Trainer

# Pixels a side -> images a batch.
BATCHES = {32: 512, 224: 16}
ROUNDS, STEP_ROUNDS = 9, 15
TURN = 0.2  # seconds
STEP_BATCH, STEPS = 64, 8

CHAIN = Policy(
    always=(
        Operation("horizontal_flip", 0.5, 0.5),
        Operation("rotate", 0.05, 0.15),
        Operation("shear_x", 0.1, 0.3),
        Operation("translate_x", 0.1, 0.3),
        Operation("translate_y", 0.1, 0.3),
    ),
    branches=(
        Branch(
            (
                Operation("zoom_in", 0.1, 0.3),
                Operation("brightness", 0.1, 0.3),
                Operation("contrast", 0.1, 0.3),
                Operation("saturation", 0.1, 0.3),
                Operation("hue", 0.02, 0.1),
            )
        ),
    ),
)
KERAS_CHAIN = keras.Sequential(
    [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(0.075, fill_mode="nearest"),
        keras.layers.RandomShear(0.3, 0.0, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.15, 0.15, fill_mode="nearest"),
        keras.layers.RandomZoom((-0.2, -0.07), fill_mode="nearest"),
        keras.layers.RandomColorJitter((0, 255), 0.3, 0.3, 0.3, 0.05),
    ]
)
BORDER = {"border_mode": cv2.BORDER_REPLICATE, "p": 1.0}
ALBUMENTATIONS_CHAIN = albumentations.Compose(
    [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Rotate((-27, 27), **BORDER),
        albumentations.Affine(shear={"x": (-17, 17), "y": 0}, **BORDER),
        albumentations.Affine(translate_percent=(-0.15, 0.15), **BORDER),
        albumentations.Affine(scale=(1.07, 1.23), **BORDER),
        albumentations.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1.0),
    ]
)
# Merged by hand into one warp, for comparison.
ALBUMENTATIONS_MERGED = albumentations.Compose(
    [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(
            scale=(1.07, 1.23),
            translate_percent=(-0.15, 0.15),
            rotate=(-27, 27),
            shear={"x": (-17, 17), "y": 0},
            **BORDER,
        ),
        albumentations.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1.0),
    ]
)

compiled = tf.function(augment, jit_compile=True)


def ours(policy: Policy) -> Callable[[np.ndarray], object]:
    tensors = policy_tensors(policy)
    seeds = iter(range(10**6))
    return lambda images: compiled(
        images, tensors, batch_keys(tf.constant([0, next(seeds)]), len(images))
    )[0]


def keras_layer(layer: keras.Layer) -> Callable[[np.ndarray], object]:
    return tf.function(lambda images: layer(tf.cast(images, tf.float32), training=True))


def albumentations_threads(
    chain: albumentations.Compose, threads: int
) -> Callable[[np.ndarray], object]:
    pool = ThreadPoolExecutor(threads)

    def one(image: np.ndarray) -> np.ndarray:
        return chain(image=image)["image"]

    return lambda images: np.stack(list(pool.map(one, images)))


RIVALS: dict[str, Callable[[np.ndarray], object]] = {
    "ours": ours(CHAIN),
    "ours_trivial_augment": ours(trivial_augment()),
    "keras_chain": keras_layer(KERAS_CHAIN),
    "keras_rand_augment": keras_layer(keras.layers.RandAugment((0, 255), 2)),
    "albumentations_1": albumentations_threads(ALBUMENTATIONS_CHAIN, 1),
    "albumentations_2": albumentations_threads(ALBUMENTATIONS_CHAIN, 2),
    "albumentations_merged_2": albumentations_threads(ALBUMENTATIONS_MERGED, 2),
    "memcpy": np.copy,
}


def seconds_of(function: Callable[[], object]) -> float:
    """Returns the seconds of a call, the mean over a turn."""
    start, calls, passed = time.perf_counter(), 0, 0.0
    while passed < TURN:
        function()
        calls += 1
        passed = time.perf_counter() - start
    return passed / calls


def take_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds a call of each function in each round; a first one compiles."""
    for function in functions.values():
        function()
    return {
        name: list(times)
        for name, times in zip(
            functions,
            zip(*([seconds_of(f) for f in functions.values()] for _ in range(rounds)), strict=True),
            strict=True,
        )
    }


def compare(size: int) -> dict[str, float]:
    """Returns our images/s over theirs at one size."""
    batch = BATCHES[size]
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    seconds = take_turns(
        {name: functools.partial(run, images) for name, run in RIVALS.items()}, ROUNDS
    )
    for name, times in seconds.items():
        print(f"{size:4} px  {name:22} {batch / statistics.median(times):12,.0f} images/s")

    def ratio(*names: str) -> float:
        best = [min(times) for times in zip(*(seconds[name] for name in names), strict=True)]
        pairs = zip(best, seconds["ours"], strict=True)
        return round(statistics.median(theirs / own for theirs, own in pairs), 3)

    return {
        f"keras_{size}": ratio("keras_chain"),
        f"albumentations_{size}": ratio("albumentations_1", "albumentations_2"),
        f"albumentations_merged_{size}": ratio("albumentations_merged_2"),
        f"memcpy_{size}": ratio("memcpy"),
    }


def step_ratio(size: int = 32) -> float:
    """Returns the seconds of the trainer's step with TrivialAugment over those of one without."""
    task, generator = get_task("multiclass"), np.random.default_rng(0)
    recipe = resolve(Recipe(), {"batch_size": STEP_BATCH}, 10_000)
    trainers = {
        name: Trainer(
            build_model("separable", task, (size, size, 3), 10),
            task,
            from_recipe(recipe),
            None,
            policy,
        )
        for name, policy in (("with", trivial_augment()), ("without", None))
    }
    images = generator.integers(0, 256, (STEPS, STEP_BATCH, size, size, 3), np.uint8)
    targets = {"label": generator.integers(0, 10, (STEPS, STEP_BATCH))}
    rates = np.full(STEPS, 1e-3, np.float32)

    def runner(trainer: Trainer) -> Callable[[], object]:
        return lambda: trainer.run_steps(images, targets, rates)

    seconds = take_turns({name: runner(each) for name, each in trainers.items()}, STEP_ROUNDS)
    pairs = zip(seconds["with"], seconds["without"], strict=True)
    return round(statistics.median(own / plain for own, plain in pairs), 3)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    result: dict[str, float] = {}
    for pixels in BATCHES:
        result |= compare(pixels)
    result["step_ratio"] = step_ratio()
    print("RESULT", json.dumps(result))
