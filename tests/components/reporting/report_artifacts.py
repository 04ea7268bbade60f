"""Artifacts of a run on real images, written as the stages write them."""

import base64
import dataclasses
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from search_artifacts import POLICY, SEARCH, TABLE, examples
from sklearn.calibration import calibration_curve
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)
from sklearn.metrics import precision_recall_fscore_support as per_class_scores

from kfp_vision.components.batch_size_probe.stage_report import probe_report
from kfp_vision.components.data_import.stage_report import import_report
from kfp_vision.components.data_profiling.stage_report import profile_report
from kfp_vision.components.evaluation.stage_report import evaluation_report, exports_report
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.data_profile import Example, Finding, Histogram, Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, Export
from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.artifacts.probe_result import (
    NoiseScale,
    ProbeResult,
    RangeTest,
    StepSpeed,
)
from kfp_vision.components.shared.artifacts.search_result import SearchResult
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.report.records import StageRecord, StageReport, Stages
from kfp_vision.components.training.stage_report import training_report
from kfp_vision.components.trial_search.stage_report import search_report

# Measured on 10,000 images of CIFAR-10; the lists of steps are shortened.
PROBE = ProbeResult(
    notes=["Throughput: the time for it was over after a batch of 128."],
    reference_batch=64,
    throughput=[
        StepSpeed(batch_size, speed, memory, 8, False, time)
        for batch_size, speed, memory, time in (
            (32, 960.9, 777.0, 1.127),
            (64, 1209.6, 800.2, 1.0),
            (128, 1301.2, 893.4, 1.124),
        )
    ],
    variants=[StepSpeed(64, 873.3, 887.5, 1, True)],
    noise_scale=NoiseScale(
        value=241.1,
        low=129.8,
        high=447.6,
        trace=482.2,
        trace_error=90.0,
        sq_norm=2.0,
        sq_norm_error=0.4,
        raw=[None, 26.3, 28.5, 32.2, None, 229.2, 188.3, 182.1],
        scaled=[None, None, 31.0, 40.5, 55.1, 130.0, 122.5, 119.9],
    ),
    range_test=RangeTest(
        plateau_rate=1e-3,
        divergence_rate=0.1,
        rates=[1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0],
        losses=[2.9, 2.8, 2.4, 2.3, 2.6, None],
    ),
    trials={
        "0.0007297": [3.1, 3.0, 2.7, 2.23],
        "0.001459": [3.1, 2.9, 2.5, 2.18],
        "0.002919": [3.1, 2.8, 2.5, 2.21],
        "0.1": [3.1, 9.4],
    },
    images_seen=11_840,
    seconds=23.7,
    plain_seconds=158.0,
)
DECIDED = Recipe().with_settings(
    "training",
    {
        "batch_size": Setting(64, "fastest to target", {"relative_time": {"64": 1.0}}),
        "learning_rate": Setting(
            0.00173,
            "best constant rate by trials",
            {
                "interval": [0.00146, 0.00292],
                "trial_losses": {"0.0007297": 2.22, "0.001459": 2.16, "0.002919": 2.18},
            },
        ),
        "epochs": Setting(18, "length of a plain training"),
        "steps": Setting(2812, "epochs x images / batch size", source="default"),
        "weight_decay": Setting(0.035, "keeps rate x decay x steps"),
        "clip_norm": Setting(5.0, "stops spikes", source="default"),
        "jit_compile": Setting(False, "off", source="default"),
    },
)


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """What the stages hold before they write; a test replaces what it is about."""

    dataset: DatasetInfo
    profile: Profile
    probe: ProbeResult
    decided: Recipe
    augmentation: AugmentationTable
    examples: dict[str, np.ndarray]
    search: SearchResult
    training: TrainingResult
    curves: list[dict[str, Any]]
    recipe: Recipe
    evaluation: Evaluation
    exports: list[Export]

    def records(self) -> list[StageRecord]:
        """Returns what the stages hand on, in the order of the pipeline."""
        primary = self.evaluation.primary
        reports = {
            "dataset": import_report(self.dataset),
            "profile": profile_report(self.dataset, self.profile, None),
            "probe": probe_report(self.probe, self.decided),
            "augmentation": StageReport(summary={"augmentation": self.augmentation}),
            "search": search_report(
                self.search,
                self.augmentation,
                self.examples,
                self.decided,
                self.recipe,
                primary,
                2000,
            ),
            "model": training_report(self.training, self.curves, primary),
            "evaluation": evaluation_report(self.evaluation, self.dataset.classes),
            "exports": exports_report(self.exports),
        }
        return [
            StageRecord(name, f"/runs/{name}", StageCost(f"stage_{name}", 4.0 + n, 1000), report)
            for n, (name, report) in enumerate(reports.items())
        ]

    def write(self, root: Path) -> Path:
        """Writes what the last stage hands to the report; returns its folder."""
        folder = root / "exports"
        folder.mkdir(parents=True)
        (folder / "stages.json").write_text(json_text(Stages(self.records())), encoding="utf-8")
        write_recipe(self.recipe, folder / "recipe.json")
        return folder


def png(pixels: np.ndarray) -> str:
    """Returns the PNG data URI of uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def with_intervals(
    labels: np.ndarray, predicted: np.ndarray, draws: int = 50
) -> dict[str, dict[str, Any]]:
    """Returns two metrics with percentile bootstrap intervals."""
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(labels), len(labels)) for _ in range(draws)]
    result = {}
    for metric in (accuracy_score, balanced_accuracy_score):
        drawn = [metric(labels[pick], predicted[pick]) for pick in picks]
        result[metric.__name__.removesuffix("_score")] = {
            "value": float(metric(labels, predicted)),
            "ci95": np.percentile(drawn, [2.5, 97.5]).tolist(),
        }
    return result


def against(
    model: dict[str, dict[str, Any]], rival: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Returns the figures of a rival with the difference of the model, as if not paired."""
    for name, score in rival.items():
        value = model[name]["value"] - score["value"]
        bounds = [
            model[name]["ci95"][0] - score["ci95"][1],
            model[name]["ci95"][1] - score["ci95"][0],
        ]
        score["difference"] = {"value": value, "ci95": bounds}
    return rival


def bins(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """Returns the reliability bins of ten equal widths."""
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    counts = np.histogram(confidence, np.linspace(0, 1, 11))[0]
    return [
        {"confidence": float(c), "accuracy": float(a), "count": int(n)}
        for c, a, n in zip(mean, accuracy, counts[counts > 0], strict=True)
    ]


def classification_run(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], train: int
) -> Artifacts:
    """Returns the artifacts of a logistic regression.

    Args:
        images: uint8 [N, H, W].
        labels: int [N].
        classes: Names.
        train: The first `train` images are for training, the others for the test.
    """
    flat = images.reshape(len(images), -1) / 255.0
    train_x, test_x, train_y, test_y = flat[:train], flat[train:], labels[:train], labels[train:]
    curves: list[dict[str, Any]] = []
    for step in range(1, 16):
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model = LogisticRegression(max_iter=step, C=0.1).fit(train_x, train_y)
        for split, x, y in (("train", train_x, train_y), ("validation", test_x, test_y)):
            p = model.predict_proba(x)
            scores = {
                "loss": -np.log(p[np.arange(len(y)), y] + 1e-12).mean(),
                "accuracy": (p.argmax(1) == y).mean(),
            }
            curves += [
                {"step": 20 * step, "split": split, "metric": name, "value": float(value)}
                for name, value in scores.items()
            ]
    p = model.predict_proba(test_x)
    most_frequent = np.full_like(test_y, np.bincount(train_y).argmax())
    means = np.stack([train_x[train_y == index].mean(0) for index in range(len(classes))])
    centroid = ((test_x[:, None] - means) ** 2).sum(-1).argmin(1)
    predicted, confidence = p.argmax(1), p.max(1)
    sharp = p**1.6 / (p**1.6).sum(1, keepdims=True)
    precision, recall, f1, count = per_class_scores(test_y, predicted, zero_division=0)
    wrong = np.flatnonzero(predicted != test_y)
    wrong = wrong[np.argsort(-confidence[wrong])][:12]

    def example(index: int, split: str) -> Example:
        path, name = f"{split}/{index:05d}.png", classes[labels[index]]
        return Example(path, split, name, png(images[index]))

    metrics = with_intervals(test_y, predicted)
    curve_points: dict[str, dict[str, Any]] = {"roc": {}, "precision_recall": {}}
    for index, name in enumerate(classes):
        false_positive, true_positive, _ = roc_curve(test_y == index, p[:, index])
        precisions, recalls, _ = precision_recall_curve(test_y == index, p[:, index])
        for curve, x, y in (
            ("roc", false_positive, true_positive),
            ("precision_recall", recalls, precisions),
        ):
            kept = np.unique(np.linspace(0, len(x) - 1, 200).astype(int))
            curve_points[curve][name] = {"x": x[kept].tolist(), "y": y[kept].tolist()}
    counts = {
        split: dict(zip(classes, np.bincount(y, minlength=len(classes)).tolist(), strict=True))
        for split, y in (("train", train_y), ("test", test_y))
    }
    height, width = images.shape[1:3]
    brightness = np.histogram(images.mean(axis=tuple(range(1, images.ndim))), 24)
    return Artifacts(
        dataset=DatasetInfo(
            task="multiclass",
            classes=list(classes),
            splits={"train": train, "validation": len(test_y), "test": len(test_y)},
            channels=1,
            median_height=height,
            median_width=width,
            fingerprint="9f" * 32,
            source_uri="/data/real images",
            source_format="idx",
            split_origin={"train": "given", "validation": "made", "test": "given"},
            rejected={"unreadable": 2},
            notes=["Detected IDX files.", "The validation split was made: 10 % of train."],
        ),
        profile=Profile(
            findings=[
                Finding(
                    code="duplicates_exact",
                    level="warn",
                    message="Images should be there once. 43 images are copies of another one; "
                    "they weigh double in training. Remove them at the source.",
                    count=43,
                    examples=[example(index, "train") for index in range(8)],
                )
            ],
            class_counts=counts,
            figures={"label_entropy_bits": float(np.log2(len(classes))), "duplicates": 43},
            histograms={
                "mean_intensity": Histogram(
                    brightness[1].tolist(), brightness[0].tolist(), "of 255"
                )
            },
            thumbnails={
                name: [png(images[at]) for at in np.flatnonzero(train_y == index)[:6]]
                for index, name in enumerate(classes)
            },
        ),
        probe=PROBE,
        decided=DECIDED,
        augmentation=TABLE,
        examples=examples(images[0]),
        search=SEARCH,
        training=TrainingResult(
            trainable="all",
            seed=0,
            architecture="separable",
            parameters=38_954,
            image_size=[height, width],
            steps=300,
            best_step=240,
            validation={"accuracy": 0.9},
            seconds=5.5,
            plain_seconds=4.0,
            images_seen=38_400,
            images_per_second=6982.0,
            precision="float32",
            waiting_share=0.013,
            checks={"initial_loss_nats": 2.31, "expected_initial_loss_nats": 2.303},
            warnings=["The loss was still falling at the last step: more epochs may help."],
            planned_steps=300,
        ),
        curves=curves,
        recipe=POLICY.with_settings(
            "training",
            {
                "batch_size": Setting(128, "largest at full speed", {"images_per_second": 6982.0}),
                "learning_rate": Setting(3e-5, "set by hand", source="user"),
                "class_weights": Setting([1.0] * 40, "effective number of images", {"beta": 0.99}),
                "label_smoothing": Setting(0.1, "default of kfp-vision", source="default"),
            },
        ),
        evaluation=Evaluation(
            primary="accuracy",
            metrics={"test": metrics, "validation": metrics},
            baselines={
                "zero_rule": against(metrics, with_intervals(test_y, most_frequent)),
                "nearest_centroid": against(metrics, with_intervals(test_y, centroid)),
            },
            per_class=[
                {
                    "class": name,
                    "count": int(count[index]),
                    "precision": float(precision[index]),
                    "recall": float(recall[index]),
                    "f1": float(f1[index]),
                    "auroc": None,
                }
                for index, name in enumerate(classes)
            ],
            confusion=confusion_matrix(test_y, predicted).tolist(),
            curves=curve_points,
            calibration={
                "temperature": 1.31,
                "ece_before": 0.041,
                "ece_after": 0.012,
                "bins_before": bins(sharp.max(1), predicted == test_y),
                "bins_after": bins(confidence, predicted == test_y),
            },
            mistakes=[
                {
                    "path": f"test/{index:05d}.png",
                    "label": classes[test_y[index]],
                    "predicted": classes[predicted[index]],
                    "confidence": float(confidence[index]),
                    "thumbnail": png(images[train + index]),
                }
                for index in wrong
            ],
            passed=True,
            reasons=[],
            outcome="better",
            best_baseline="nearest_centroid",
            sentence="The model is clearly better than every baseline, the best of them is the "
            "baseline `nearest_centroid`: test accuracy 0.9000 against 0.8000.",
        ),
        exports=[
            Export(name, path, size, latency, {"accuracy": value}, gap, passed, reason)
            for name, path, size, latency, value, gap, passed, reason in (
                ("keras", "model.keras", 512_300, 9.1, 0.914, 0.0, True, ""),
                ("onnx", "model.onnx", 159_400, 0.42, 0.914, 7e-8, True, ""),
                ("tflite_int8", "model_int8.tflite", 61_200, 0.31, 0.7, 0.4, False, "too far off"),
            )
        ],
    )
