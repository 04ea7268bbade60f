"""Times evaluation and export of the small default network on Fashion-MNIST.

python tests/benchmarks/bench_evaluation.py [--dataset-uri DIR] [--primary accuracy]

The network gets one epoch by keras.Model.fit: what is timed does not depend on how good it is.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.evaluation.bootstrap import score_with_intervals
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.evaluation.export import ExportConfig, export_model
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.tasks import get_task, task_of


def train_one_epoch(dataset_dir: Path, info: DatasetInfo, model_dir: Path, primary: str) -> None:
    """Writes the model artifact, as far as evaluation reads it."""
    task, size = task_of(info), (info.median_height, info.median_width)
    model = build_model("separable", task, (*size, info.channels), len(info.classes))
    images = open_labelled(dataset_dir, "train", (*size, info.channels), task, len(info.classes))
    rows = np.arange(len(images))
    loss = (
        keras.losses.BinaryCrossentropy(from_logits=True)
        if info.task == "multilabel"
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.compile(keras.optimizers.Adam(0.003), loss)
    labels = images.read_targets(rows)["label"]
    model.fit(images.source.take(rows), labels, batch_size=128, verbose=0)
    model_dir.mkdir()
    model.save(model_dir / "model.keras")
    metric = Setting(primary, "bench", source="user")
    recipe = Recipe().with_settings("data", {"primary_metric": metric})
    profile_images(dataset_dir, recipe, model_dir, ProfileConfig())


def time_bootstrap(num_images: int, num_classes: int) -> float:
    """Returns the CPU seconds of 1000 resamples of the five metrics of single-label images."""
    generator = np.random.default_rng(0)
    labels = generator.integers(num_classes, size=num_images)
    scores = np.exp(generator.normal(size=(num_images, num_classes)) + np.eye(num_classes)[labels])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    started = time.process_time()
    score_with_intervals(
        get_task("multiclass"), {"label": labels, "probabilities": probabilities}, 1000, 0
    )
    return time.process_time() - started


def main() -> None:
    """Prints one line per stage and the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset-uri", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--primary", default="accuracy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        info = import_dataset(arguments.dataset_uri, root / "dataset", ImportConfig())
        train_one_epoch(root / "dataset", info, root / "model", arguments.primary)
        started, busy = time.perf_counter(), time.process_time()
        evaluation = evaluate_model(
            root / "dataset", root / "model", root / "evaluation", EvaluateConfig()
        )
        evaluated, evaluated_busy = time.perf_counter(), time.process_time()
        exports = export_model(
            root / "dataset", root / "evaluation", root / "exports", ExportConfig()
        )
        exported, exported_busy = time.perf_counter(), time.process_time()
    result = {
        "evaluate_s": round(evaluated - started, 1),
        "evaluate_cpu_s": round(evaluated_busy - busy, 1),
        "export_s": round(exported - evaluated, 1),
        "export_cpu_s": round(exported_busy - evaluated_busy, 1),
        "bootstrap_cpu_s": round(time_bootstrap(10_000, 10), 1),
        "baselines": {
            name: round(scores[arguments.primary]["value"], 4)
            for name, scores in evaluation.baselines.items()
        },
        "exports": {
            export.format: {
                "passed": export.passed,
                "kib": export.size_bytes // 1024,
                "latency_ms": round(export.latency_ms, 3),
                "max_abs_difference": float(f"{export.max_abs_difference:.1e}"),
            }
            for export in exports
        },
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
