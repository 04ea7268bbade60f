"""What the evaluation and the export tell the report."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from kfp_vision.components.evaluation.report_evidence import (
    calibration_chart,
    champion_rows,
    compare_baselines,
    confusion_cells,
    frequent_confusions,
    metric_names,
    operating_charts,
    weakest_classes,
)
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, Export
from kfp_vision.components.shared.datasets.palette import legend
from kfp_vision.components.shared.report.records import ReportWarning, Section, StageReport

__all__ = ["evaluation_report", "exports_report"]

_METRIC_MEANINGS = {
    "accuracy": "share of images whose most probable class is the right one",
    "balanced_accuracy": "accuracy in each class, averaged over the classes",
    "auroc": "probability that an image of a class scores above an image of another class",
    "average_precision": "area under precision over recall, averaged over the classes",
    "ece": "mean gap between stated confidence and accuracy; lower is better",
    "mean_average_precision": "area under precision over recall, averaged over the labels",
    "micro_f1": "F1 at probability 0.5 over all decisions",
    "macro_f1": "F1 at probability 0.5 in each label, averaged over the labels",
    "map": "area under precision over recall, the mean over classes and over overlaps of boxes "
    "from 0.5 to 0.95, as COCO has it",
    "map50": "the same for an overlap of 0.5",
    "map75": "the same for an overlap of 0.75",
    "map_small": "the same as mAP, of objects below 32 x 32 pixels",
    "map_medium": "the same as mAP, of objects from 32 x 32 to 96 x 96 pixels",
    "map_large": "the same as mAP, of objects above 96 x 96 pixels",
    "mask_map": "area under precision over recall, the mean over classes and over overlaps of "
    "masks from 0.5 to 0.95, as COCO has it",
    "mask_map50": "the same for an overlap of 0.5",
    "mask_map75": "the same for an overlap of 0.75",
    "mask_map_small": "the same as mask mAP, of objects below 32 x 32 pixels",
    "mask_map_medium": "the same as mask mAP, of objects from 32 x 32 to 96 x 96 pixels",
    "mask_map_large": "the same as mask mAP, of objects above 96 x 96 pixels",
    "pck": "share of the labelled keypoints that are found within 5 % of the diagonal of the image",
    "oks_map": "as mAP, with the similarity of keypoints (OKS) in place of the overlap of boxes",
    "oks_map50": "the same for a similarity of 0.5",
    "oks_map75": "the same for a similarity of 0.75",
    "oks_map_medium": "the same as OKS mAP, of objects from 32 x 32 to 96 x 96 pixels",
    "oks_map_large": "the same as OKS mAP, of objects above 96 x 96 pixels",
    "median_distance": "from the true keypoint, as a share of the diagonal of the image",
    "mean_iou": "shared pixels over those of truth and prediction together, at the size of each "
    "mask as it is labelled; the mean over classes",
    "mean_dice": "twice the shared pixels over those of both added up, the mean over classes",
    "pixel_accuracy": "share of the pixels that are given the right class",
    "precision": "share of the images given this class that have it",
    "recall": "share of the images of this class that were found",
    "f1": "harmonic mean of precision and recall",
}
_NOTHING_FOUND = (
    "No object of the test images is found with a score of at least {:g}, from which on `predict` "
    "names objects: the model is not sure of any. Give it more minutes or more images."
)
_MEANINGS_OF_POSITIVE = {
    "auroc": "probability that an image of the positive class scores above one of the other class",
    "average_precision": "area under precision over recall, of the positive class",
}
_MEANINGS_OF_PIXELS = {
    "precision": "share of the pixels given this class that have it",
    "recall": "share of the pixels of this class that were found",
    "pixel_share": "share of the class in the labelled pixels",
}
_BASELINE_MEANINGS = {
    "zero_rule": "knows only how frequent the classes are",
    "usual_place": "the class that is most frequent at each place of the training images",
    "nearest_image": "what is labelled in the training image whose pixels are nearest",
    "nearest_centroid": "the class whose mean image is nearest",
    "linear": "logistic regression on the pixels",
    "frozen_features": "logistic regression on features of EfficientNet-Lite0, trained on ImageNet",
}
_BASELINE_MEANINGS_OF_OBJECTS = {"zero_rule": "the usual box of each class, in every image"}


def evaluation_report(evaluation: Evaluation, classes: Sequence[str]) -> StageReport:
    """Returns `metrics`, `baselines`, `verdict` and `champion` of `report.json`, and the sections.

    Args:
        evaluation: Of the model.
        classes: C names.
    """
    positive = evaluation.positive_class
    summary: dict[str, Any] = {
        "metrics": {
            **evaluation.metrics,
            "primary": evaluation.primary,
            "positive_class": dataclasses.asdict(positive) if positive else None,
        },
        "baselines": evaluation.baselines,
        "verdict": {
            "outcome": evaluation.outcome,
            "best_baseline": evaluation.best_baseline,
            "sentence": evaluation.sentence,
            "reasons": evaluation.reasons,
        },
        "champion": dataclasses.asdict(evaluation.champion) if evaluation.champion else None,
    }
    warnings = [ReportWarning("evaluation", each, about="model") for each in evaluation.reasons]
    if evaluation.outcome in ("indistinguishable", "outperformed"):
        warnings.append(ReportWarning(evaluation.outcome, evaluation.sentence, about="model"))
    scores = [each["score"] for each in evaluation.pictures if each["measure"] == "f1"]
    if scores and not any(scores):
        sentence = _NOTHING_FOUND.format(evaluation.least_score)
        warnings.append(ReportWarning("nothing_found", sentence, about="model"))
    warnings += [ReportWarning("baseline_left_out", each) for each in evaluation.baselines_left_out]
    names, confusion = metric_names(summary), evaluation.confusion
    of_objects = evaluation.counted == "objects"
    data = {
        "metrics": names,
        "is_refit": evaluation.is_refit,
        "least_score": evaluation.least_score,
        "meanings": _METRIC_MEANINGS
        | (_MEANINGS_OF_POSITIVE if positive else {})
        | (_MEANINGS_OF_PIXELS if evaluation.counted == "pixels" else {}),
        "baseline_meanings": _BASELINE_MEANINGS
        | (_BASELINE_MEANINGS_OF_OBJECTS if of_objects else {}),
        "comparisons": {name: compare_baselines(summary, name) for name in names},
        "per_class": weakest_classes(evaluation.per_class),
        "per_keypoint": evaluation.per_keypoint,
        "confusion": confusion_cells(classes, confusion) if confusion else None,
        "confusions": frequent_confusions(classes, confusion) if confusion else [],
        "operating": operating_charts(evaluation.curves),
        "calibration": evaluation.calibration,
        "calibration_chart": calibration_chart(evaluation.calibration),
        "mistakes": evaluation.mistakes,
        "counted": evaluation.counted,
        "pictures": evaluation.pictures,
        "colours": legend(classes, [row["keypoint"] for row in evaluation.per_keypoint]),
    }
    sections = [Section("results", "Results", "evaluation/results.html", data)]
    if comparison := evaluation.champion:
        rows = champion_rows(comparison)
        sections.append(Section("champion", "Champion", "evaluation/champion.html", rows))
    return StageReport(summary, warnings, sections)


def exports_report(exports: Sequence[Export]) -> StageReport:
    """Returns `exports` of `report.json`, those that failed, and the section on them."""
    return StageReport(
        summary={"exports": [dataclasses.asdict(export) for export in exports]},
        warnings=[
            ReportWarning("export_failed", f"{export.format}: {export.reason}", about="model")
            for export in exports
            if not export.passed
        ],
        sections=[Section("exports", "Exports", "evaluation/exports.html")],
    )
