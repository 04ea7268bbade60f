"""Runs at the edges of what a report has to show, made from a plain one."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from report_artifacts import Artifacts

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.evaluation_result import Export
from kfp_vision.components.shared.artifacts.probe_result import NoiseScale, ProbeResult, RangeTest
from kfp_vision.components.shared.artifacts.search_result import SearchResult
from kfp_vision.components.shared.recipe.document import Recipe

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)>"\'&{{ 7*7 }}'
LONG = "猫の名前はとても長い🐈" * 18


def renamed(run: Artifacts, classes: list[str]) -> Artifacts:
    """Returns the run with other class names."""
    text = dict(zip(run.dataset.classes, classes, strict=True))
    evaluation, profile = run.evaluation, run.profile
    return dataclasses.replace(
        run,
        dataset=dataclasses.replace(run.dataset, classes=classes),
        profile=dataclasses.replace(
            profile,
            class_counts={
                split: {text[name]: count for name, count in counts.items()}
                for split, counts in profile.class_counts.items()
            },
            thumbnails={text[name]: images for name, images in profile.thumbnails.items()},
        ),
        evaluation=dataclasses.replace(
            evaluation,
            per_class=[{**row, "class": text[row["class"]]} for row in evaluation.per_class],
            curves={
                curve: {text[name]: points for name, points in lines.items()}
                for curve, lines in evaluation.curves.items()
            },
            mistakes=[
                {**held, "label": text[held["label"]], "predicted": text[held["predicted"]]}
                for held in evaluation.mistakes
            ],
        ),
    )


def many_classes(run: Artifacts, count: int = 1000, prefix: str = "class ") -> Artifacts:
    """Returns a run of `count` classes with Poisson confusions."""
    classes = [f"{prefix}{index:04d}" for index in range(count)]
    confusion = np.random.default_rng(0).poisson(0.02, (count, count)) + 40 * np.eye(
        count, dtype=int
    )
    row = run.evaluation.per_class[0]
    return dataclasses.replace(
        run,
        dataset=dataclasses.replace(run.dataset, classes=classes),
        profile=dataclasses.replace(
            run.profile,
            class_counts={"train": dict.fromkeys(classes, 100), "test": dict.fromkeys(classes, 50)},
            thumbnails=dict.fromkeys(classes, run.profile.thumbnails["0"]),
        ),
        evaluation=dataclasses.replace(
            run.evaluation,
            confusion=confusion.tolist(),
            per_class=[{**row, "class": name} for name in classes],
        ),
    )


def multilabel(run: Artifacts) -> Artifacts:
    """Returns a multi-label run: no confusion, other metrics, labels joined."""
    scores = run.evaluation.metrics["test"]["accuracy"]
    return dataclasses.replace(
        run,
        dataset=dataclasses.replace(run.dataset, task="multilabel"),
        evaluation=dataclasses.replace(
            run.evaluation,
            primary="mean_average_precision",
            best_baseline="zero_rule",
            confusion=[],
            metrics={
                split: {"mean_average_precision": scores, "micro_f1": scores}
                for split in ("test", "validation")
            },
            baselines={"zero_rule": {"mean_average_precision": {"value": 0.3, "ci95": [0.2, 0.4]}}},
            mistakes=[
                {**held, "label": "1|2", "predicted": ""} for held in run.evaluation.mistakes
            ],
        ),
        exports=[
            dataclasses.replace(export, metrics={"mean_average_precision": 0.9})
            for export in run.exports
        ],
    )


def diverged(run: Artifacts) -> Artifacts:
    """Returns a run whose loss ended in NaN and whose per-class figures are undefined."""
    curves = [{**row, "value": math.nan} for row in run.curves[-8:]]
    rows = [
        dict.fromkeys(row, None) | {"class": row["class"], "count": 0}
        for row in run.evaluation.per_class
    ]
    return dataclasses.replace(
        run,
        curves=run.curves[:-8] + curves,
        evaluation=dataclasses.replace(
            run.evaluation,
            per_class=rows,
            passed=False,
            reasons=["No.", "Neither this."],
            outcome="rejected",
            sentence="No.",
        ),
    )


def unmeasured(run: Artifacts) -> Artifacts:
    """Returns a run whose primary metric the test split leaves undefined; nothing was written."""
    metrics = {"test": {}, "validation": run.evaluation.metrics["validation"]}
    return dataclasses.replace(
        run,
        evaluation=dataclasses.replace(
            run.evaluation,
            metrics=metrics,
            passed=False,
            reasons=["Not defined."],
            outcome="rejected",
            best_baseline="",
            sentence="Not defined.",
        ),
        exports=[Export("onnx", "model.onnx", 0, 0.0, {}, 0.0, False, "The converter failed.")],
    )


def indistinguishable(run: Artifacts) -> Artifacts:
    """Returns a run whose model may be no better than a baseline."""
    sentence = "The model cannot be told from the baseline `nearest_centroid`: 0.9 against 0.9."
    evaluation = dataclasses.replace(run.evaluation, outcome="indistinguishable", sentence=sentence)
    return dataclasses.replace(run, evaluation=evaluation)


def outperformed(run: Artifacts) -> Artifacts:
    """Returns a run whose model is below pretrained features."""
    sentence = "The model is clearly below the baseline `frozen_features`: 0.7 against 0.9."
    evaluation = dataclasses.replace(run.evaluation, outcome="outperformed", sentence=sentence)
    return dataclasses.replace(run, evaluation=evaluation)


def skipped(run: Artifacts) -> Artifacts:
    """Returns a run in which the user did not want the probe to measure."""
    probe = ProbeResult(
        skipped="`learn_batch_size` is false",
        notes=["`learning_rate` of the recipe that the run starts from (0.012) is not used."],
        seconds=0.2,
    )
    return dataclasses.replace(run, probe=probe, decided=Recipe())


def unsearched(run: Artifacts) -> Artifacts:
    """Returns a run in which the user did not want a search."""
    skipped = "`search_augmentation` is false"
    return dataclasses.replace(
        run,
        augmentation=AugmentationTable(skipped=skipped),
        search=SearchResult(skipped=skipped),
        recipe=Recipe({"training": run.recipe.sections["training"]}),
    )


def unchanged(run: Artifacts) -> Artifacts:
    """Returns a run whose trials were all worse than the baseline, or failed."""
    trials = [
        dataclasses.replace(
            trial, losses=[loss + bool(trial.candidate.levels) for loss in trial.losses]
        )
        for trial in run.search.trials
        if trial.round == "screening"
    ]
    search = SearchResult(
        decision="Not one of 5 trials is better than the baseline: nothing changes.",
        techniques=run.search.techniques,
        trials=trials,
    )
    return dataclasses.replace(unsearched(run), augmentation=run.augmentation, search=search)


def undetermined(run: Artifacts) -> Artifacts:
    """Returns a run whose probe could tell little: no noise scale, no fit, one batch size."""
    return dataclasses.replace(
        run,
        probe=dataclasses.replace(
            run.probe,
            notes=[],
            throughput=[dataclasses.replace(run.probe.throughput[0], relative_time=None)],
            variants=[],
            noise_scale=NoiseScale(
                *(None, 12.0, None, 0.0, 0.0, 0.0, 0.0),
                raw=[None, -4.0, None],
                scaled=[None, None, None],
            ),
            range_test=RangeTest(1e-5, None, rates=[1e-5, 1e-4], losses=[2.9, None]),
            trials={"1e-05": [3.1], "2e-05": []},
            plain_seconds=0.0,
        ),
    )


def of_objects(run: Artifacts, f1: float = 0.5) -> Artifacts:
    """Returns a run whose evaluation is that of objects; F1 is that of every image."""
    empty: dict[str, Any] = {"confusion": [], "curves": {}, "calibration": {}, "mistakes": []}
    picture = {"path": "a.png", "measure": "f1", "score": f1, "picture": "data:image/png;base64,"}
    rows = [
        {"class": name, "count": 7, "average_precision": 0.5, "ap_small": None}
        for name in run.dataset.classes
    ]
    kept = {
        "baselines": {"zero_rule": run.evaluation.baselines["zero_rule"]},
        "per_class": rows,
        "counted": "objects",
        "least_score": 0.25,
        "pictures": [{"kind": "worst", **picture}],
    }
    return dataclasses.replace(
        run, evaluation=dataclasses.replace(run.evaluation, **{**empty, **kept})
    )


def of_pixels(run: Artifacts) -> Artifacts:
    """Returns a run whose evaluation is that of masks."""
    return dataclasses.replace(
        run, evaluation=dataclasses.replace(run.evaluation, counted="pixels")
    )


def bare(run: Artifacts) -> Artifacts:
    """Returns a run in which everything that may be empty is empty."""
    return dataclasses.replace(
        run,
        dataset=dataclasses.replace(run.dataset, rejected={}, notes=[]),
        profile=dataclasses.replace(
            run.profile, findings=[], figures={}, histograms={}, thumbnails={}, class_counts={}
        ),
        probe=ProbeResult(),
        decided=Recipe(),
        augmentation=AugmentationTable(),
        search=SearchResult(),
        training=dataclasses.replace(run.training, warnings=[], checks={}),
        evaluation=dataclasses.replace(
            run.evaluation,
            baselines={},
            per_class=[],
            confusion=[],
            curves={},
            calibration={},
            mistakes=[],
        ),
        exports=[],
    )


CASES: dict[str, Callable[[Artifacts], Artifacts]] = {
    "plain": lambda run: run,
    "hostile names": lambda run: renamed(run, [HOSTILE, *run.dataset.classes[1:]]),
    "long names": lambda run: renamed(run, [f"{LONG}{index}" for index in range(10)]),
    "1000 classes": many_classes,
    "multilabel": multilabel,
    "objects": of_objects,
    "pixels": of_pixels,
    "no object is found": lambda run: of_objects(run, 0.0),
    "diverged and rejected": diverged,
    "no metric and a broken export": unmeasured,
    "no better than a baseline": indistinguishable,
    "below pretrained features": outperformed,
    "probe skipped": skipped,
    "probe undetermined": undetermined,
    "search skipped": unsearched,
    "search found nothing": unchanged,
    "nothing that may be empty": bare,
}
