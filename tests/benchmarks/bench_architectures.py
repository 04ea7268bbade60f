"""Measures training speed, images/s, of every network of the zoo at 32, 64 and 128 pixels.

Run: python tests/benchmarks/bench_architectures.py [name ...]
"""

import json
import sys
import time

import keras
import numpy as np

from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, build_model
from kfp_vision.components.shared.tasks import get_task

SIZES = (32, 64, 128)
BATCH_SIZE = 64
SECONDS = 8.0


def images_per_second(name: str, size: int) -> float:
    """Returns the speed of training steps after the first, which compiles."""
    task = get_task("multiclass")
    model = build_model(name, task, (size, size, 3), 10)
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (BATCH_SIZE, size, size, 3)).astype(np.float32)
    labels = generator.integers(0, 10, BATCH_SIZE)
    model.train_on_batch(pixels, labels)
    steps, started = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - started < SECONDS:
        model.train_on_batch(pixels, labels)
        steps += 1
    return steps * BATCH_SIZE / (time.perf_counter() - started)


def main() -> None:
    """Prints one line a measurement and the result."""
    # Weights do not change the speed, and those of ImageNet are a download.
    names = sys.argv[1:] or [name for name in ARCHITECTURES if not name.endswith("_imagenet")]
    result: dict[str, dict[int, float]] = {}
    for name in names:
        for size in SIZES:
            speed = round(images_per_second(name, size), 1)
            result.setdefault(name, {})[size] = speed
            print(f"{name:20s} {size:4d} px  {speed:8.1f} images/s", flush=True)
    print("RESULT " + json.dumps({"batch_size": BATCH_SIZE, "images_per_second": result}))


if __name__ == "__main__":
    main()
