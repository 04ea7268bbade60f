"""Writes a model in five formats and measures each file again in its own runtime."""

import contextlib
import dataclasses
import math
import os
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.evaluation.calibration_images import calibration_rows
from kfp_vision.components.evaluation.formats import FORMATS, ExportSource
from kfp_vision.components.evaluation.model_readme import model_readme
from kfp_vision.components.evaluation.stage_report import exports_report
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, Export
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages, open_labelled
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk, is_disk_full
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks import TASKS, Task, task_of
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics
from kfp_vision.components.shared.training.inference import Infer, SplitOutputs, compile_inference

__all__ = ["ExportConfig", "export_model"]

_LOG_FILE = "conversion.log"
_WARM_UP_CALLS, _LEAST_CALLS, _LATENCY_S = 5, 10, 1.0


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """When an export passes, and on how much it is measured.

    Attributes:
        max_metric_loss: How far the primary metric of a float format may be from Keras.
        max_difference: How far a probability of a float format may be from that of Keras; of
            objects the scores, together.
        max_metric_loss_int8: How far below Keras the primary metric of int8 may be.
        max_images: Test images measured, evenly spaced, when there are more.
        latency_calls: Single-image calls of which the median is the latency; as many as a second
            takes where they are slow, but 10.
    """

    max_metric_loss: float = 0.001
    max_difference: float = 0.001
    max_metric_loss_int8: float = 0.02
    max_images: int = 10_000
    latency_calls: int = 50

    def __post_init__(self) -> None:
        """Refuses a tolerance below zero and counts below one."""
        for name, value in dataclasses.asdict(self).items():
            least = 1 if isinstance(value, int) else 0
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {value}")


@dataclasses.dataclass
class _TestSet:
    """M test images, and what Keras predicts for them; `expected` are its metrics once measured."""

    images: LabelledImages
    rows: np.ndarray
    reference: SplitOutputs
    task: Task
    primary: str
    expected: dict[str, float] | None = None


@explains_full_disk("output_dir")
@Progress("export")
def export_model(
    dataset_dir: Path,
    evaluation_dir: Path,
    output_dir: Path,
    config: ExportConfig,
    cache: ImageCache | None = None,
) -> list[Export]:
    """Writes the formats, `exports.json`, `conversion.log`, `model.json` and `README.md`.

    A format that cannot be written or read back is a failed export with the reason and without a
    file. A model that the evaluation has rejected is not exported at all; `exports.json` says so.

    Args:
        dataset_dir: Folder of the dataset; of `train` the images that are drawn are enough.
        evaluation_dir: The `evaluation` artifact; its `model.keras` is exported, and every format
            is compared with it.
        output_dir: Created when absent.
        config: Tolerances and amounts.
        cache: Keeps decoded images for other stages and runs; None keeps none.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    evaluation = read_json(Evaluation, evaluation_dir / "evaluation.json")
    exports: list[Export] = []
    if evaluation.passed:
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        model = keras.models.load_model(
            evaluation_dir / "model.keras", compile=False, safe_mode=True
        )
        test = _open_test_set(dataset_dir, info, model, evaluation, config, cache)
        source = ExportSource(
            model,
            _draw_calibration(dataset_dir, model, cache),
            output_dir / FORMATS["saved_model"].path,
        )
        exports = [_export(name, source, output_dir, test, config) for name in FORMATS]
        for export in exports:
            if not export.metrics:
                _remove(output_dir / export.path)
        written = [export for export in exports if export.metrics]
        card = ModelCard(
            task=info.task,
            classes=info.classes,
            image_size=list(model.input_shape[1:3]),
            channels=info.channels,
            white_level=info.white_level,
            output=TASKS[info.task].output.format(most=_most_objects(model)),
            keypoint_names=info.keypoint_names,
            least_score=evaluation.least_score,
            failed={export.path: export.reason for export in written if not export.passed},
        )
        write_json(card, output_dir / "model.json")
        page = model_readme(card, written, evaluation.primary)
        (output_dir / "README.md").write_text(page, encoding="utf-8")
    reason = "" if evaluation.passed else " ".join(["Not exported.", *evaluation.reasons])
    write_json({"exports": exports, "reason": reason}, output_dir / "exports.json")
    write_stage_report(exports_report(exports), output_dir)
    seen = sum(export.num_images for export in exports)
    cost = StageCost("export_model", time.monotonic() - started, seen)
    write_json(cost, output_dir / COST_FILE)
    return exports


def _export(
    name: str, source: ExportSource, output_dir: Path, test: _TestSet, config: ExportConfig
) -> Export:
    path = output_dir / FORMATS[name].path
    try:
        with _output_to(output_dir / _LOG_FILE), Progress(f"write {name}"):
            FORMATS[name].write(source, path)
        with Progress(f"open {name}"):
            infer = FORMATS[name].open(path)
        return _measure(name, path, infer, test, config)
    # Converters and runtimes raise what they like, and one format must not cost the others.
    except Exception as error:
        if is_disk_full(error):
            raise
        with (output_dir / _LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        reason = f"{type(error).__name__}: {str(error)[:500]} (see {_LOG_FILE})"
        return Export(name, path.name, 0, 0.0, {}, 0.0, passed=False, reason=reason)


def _measure(name: str, path: Path, infer: Infer, test: _TestSet, config: ExportConfig) -> Export:
    measured_records, expected_records = [], []
    difference = test.task.new_difference()
    predicted = SplitOutputs(infer, test.images, test.rows, f"check {name}")
    for (targets, theirs), (_, ours) in zip(predicted, test.reference, strict=True):
        if not all(np.isfinite(each).all() for each in tf.nest.flatten(theirs)):
            raise ValueError("Predictions must be finite. Received: NaN or infinity from the file.")
        difference.add(theirs, ours)
        measured_records.append(test.task.record(targets, theirs))
        if test.expected is None:
            expected_records.append(test.task.record(targets, ours))
    metrics = whole_set_metrics(test.task, join_records(measured_records))
    if test.expected is None:
        test.expected = whole_set_metrics(test.task, join_records(expected_records))
    # The images that are measured may leave the metric undefined; Keras then as well.
    measured, expected = (each.get(test.primary, 0.0) for each in (metrics, test.expected))
    is_exact = FORMATS[name].is_exact
    if is_exact:
        loss, tolerance = abs(expected - measured), config.max_metric_loss
    else:
        loss, tolerance = expected - measured, config.max_metric_loss_int8
    reasons = []
    if loss > tolerance:
        reasons.append(
            f"{test.primary} is {measured:.4f}, that of Keras {expected:.4f}; "
            f"allowed are {tolerance}."
        )
    if is_exact and difference.value > config.max_difference:
        reasons.append(
            f"Predictions differ by {difference.value:.2g} from Keras; allowed are "
            f"{config.max_difference}."
        )
    with Progress(f"time {name}"):
        image = test.images.source.take(test.rows[:1])
        latency_ms = _latency_ms(infer, image, config.latency_calls)
    return Export(
        format=name,
        path=path.name,
        size_bytes=_size_bytes(path),
        latency_ms=latency_ms,
        metrics=metrics,
        max_abs_difference=difference.value,
        passed=not reasons,
        reason=" ".join(reasons),
        num_images=len(test.rows),
    )


def _latency_ms(infer: Infer, image: np.ndarray, num_calls: int) -> float:
    """Returns the median over calls with one image, after some that are not counted."""
    for _ in range(_WARM_UP_CALLS):
        infer(image)
    durations: list[float] = []
    while len(durations) < num_calls and (
        len(durations) < _LEAST_CALLS or sum(durations) < _LATENCY_S
    ):
        started = time.perf_counter()
        infer(image)
        durations.append(time.perf_counter() - started)
    return 1000 * statistics.median(durations)


def _open_test_set(
    dataset_dir: Path,
    info: DatasetInfo,
    model: keras.Model,
    evaluation: Evaluation,
    config: ExportConfig,
    cache: ImageCache | None,
) -> _TestSet:
    positive = evaluation.positive_class
    task = task_of(info, positive.name if positive else None)
    images = open_labelled(
        dataset_dir, "test", model.input_shape[1:], task, len(info.classes), cache=cache
    )
    rows = np.linspace(0, len(images) - 1, min(len(images), config.max_images)).astype(np.int64)
    reference = SplitOutputs(compile_inference(model), images, rows, "export reference")
    return _TestSet(images, rows, reference, task, evaluation.primary)


def _draw_calibration(
    dataset_dir: Path, model: keras.Model, cache: ImageCache | None
) -> np.ndarray:
    """Returns training images, uint8 [M, H, W, K], drawn without replacement."""
    # Nothing stays in memory: only the images drawn are loaded, and each of them once.
    *size, channels = model.input_shape[1:]
    source = ImageSource(dataset_dir, "train", size, channels, 0, cache)
    return source.take(calibration_rows(len(source), math.prod(size)))


def _most_objects(model: keras.Model) -> int:
    """Returns how many objects a model returns for an image; 0 where it returns none."""
    return int(model.output["boxes"].shape[1]) if isinstance(model.output, dict) else 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _size_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def _output_to(log_path: Path) -> Iterator[None]:
    """Appends what converters print to a file: they write to the descriptors, from C++.

    What Python prints, such as the progress, still goes where it went.
    """
    with log_path.open("ab") as log, contextlib.ExitStack() as stack:
        for descriptor in (1, 2):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            if descriptor == 1 and sys.stdout is sys.__stdout__:
                spoken = stack.enter_context(os.fdopen(os.dup(kept), "w"))
                stack.enter_context(contextlib.redirect_stdout(spoken))
            os.dup2(log.fileno(), descriptor)
        yield
