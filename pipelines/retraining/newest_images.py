"""The champion on images that it has never seen: those that came after the last success."""

import heapq
import json
from collections.abc import Sequence

import numpy as np

from kfp_vision.components.data_import.component import labelled_files
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.champions.store import read_champions, version_uri
from kfp_vision.components.shared.metrics.intervals import images_worth, wilson_interval
from kfp_vision.components.shared.metrics.scores import (
    classification_metrics,
    multilabel_metrics,
    of_whole_set,
)
from kfp_vision.components.shared.runtime.storage import open_folder, read_document
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.retraining.decision import NewestScore
from kfp_vision.pipelines.retraining.last_success import LastSuccess
from kfp_vision.pipelines.serving.predict import Model

__all__ = ["measure_champion"]

# Predicted in seconds; the interval of an accuracy of 0.9 is then 0.05 wide.
_MAX_IMAGES = 500
_REPORT, _MODEL = "report.json", "model/model.onnx"

# Path, labels.
_Labelled = tuple[str, tuple[str, ...]]


def measure_champion(
    champion_uri: str, dataset_uri: str, dataset_format: str, follow_links: bool, last: LastSuccess
) -> NewestScore | None:
    """Returns the champion's metric on the newest images and on its test; None without either.

    Args:
        champion_uri: Folder of the champions.
        dataset_uri: Of the images; of more than 500 new ones a random sample is predicted.
        dataset_format: As of `run`.
        follow_links: The same.
        last: The images of this record are old.

    Raises:
        ValueError: The champion's version lacks its report or model.
        StorageError: Images or model cannot be reached.
    """
    champion = read_champions(champion_uri).champion
    newest = _newest(dataset_uri, dataset_format, follow_links, last) if champion else []
    if not newest:
        return None
    place = version_uri(champion_uri, champion)
    metrics = json.loads(read_document(f"{place}/{_REPORT}") or b"{}").get("metrics")
    if not metrics:
        raise ValueError(
            f"A champion must have its {_REPORT}. Received: {place} without it. Promote another "
            "version, or switch `max_metric_drop` off."
        )
    primary, positive = metrics["primary"], metrics["positive_class"]
    tested = metrics["test"][primary]
    # ONNX starts in a tenth of the time of TensorFlow, where it could be exported.
    has_onnx = read_document(f"{place}/{_MODEL}") is not None
    model = Model(f"{place}/{_MODEL}" if has_onnx else place)
    classes = model.card.classes
    unknown = sorted({label for _, labels in newest for label in labels} - {*classes})
    if unknown:
        return NewestScore(primary, tested["value"], tested["ci95"], 0.0, (0.0, 1.0), 0, unknown)
    predicted = _predict(model, dataset_uri, newest)
    value, worth = _score(model.card, primary, positive and positive["name"], *predicted)
    if not worth:
        return None
    newest_ci95 = wilson_interval(value, worth)
    count = len(predicted[0])
    return NewestScore(primary, tested["value"], tested["ci95"], value, newest_ci95, count)


def _newest(
    dataset_uri: str, dataset_format: str, follow_links: bool, last: LastSuccess
) -> list[_Labelled]:
    """Returns those of the new images whose hashes are smallest: a random sample."""
    sources = last.sources

    def is_new(digest: int) -> bool:
        # Nothing is known of hashes above those that a sample has kept.
        place = int(np.searchsorted(sources.hashes, np.uint64(digest)))
        known = place < len(sources.hashes) and int(sources.hashes[place]) == digest
        return digest <= sources.limit and not known

    found = (
        (digest, path, labels)
        for path, labels, digest in labelled_files(dataset_uri, dataset_format, follow_links)
        if is_new(digest)
    )
    return [(path, labels) for _, path, labels in heapq.nsmallest(_MAX_IMAGES, found)]


def _predict(
    model: Model, dataset_uri: str, newest: Sequence[_Labelled]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which classes images show, uint8 [N, C], and the probabilities [N, C].

    Files that cannot be read are left out, as the import leaves them out.
    """
    classes, root = model.card.classes, open_folder(dataset_uri)[0].uri
    rows = model.stream([f"{root}/{path}" for path, _ in newest])
    read = [
        ([name in labels for name in classes], [row.row[f"p_{name}"] for name in classes])
        for (_, labels), row in zip(newest, rows, strict=True)
        if not row.row["error"]
    ]
    present, probabilities = zip(*read, strict=True) if read else ((), ())
    shape = (len(read), len(classes))
    return np.array(present, np.uint8).reshape(shape), np.array(probabilities, float).reshape(shape)


def _score(
    card: ModelCard,
    metric: str,
    positive: str | None,
    present: np.ndarray,
    probabilities: np.ndarray,
) -> tuple[float, float]:
    """Returns a metric of images and how many images it is worth; 0 where it is not defined."""
    if not len(present):
        return 0.0, 0.0
    counts = np.ones((len(present), 1))
    if TASKS[card.task].one_class:
        ranked = [card.classes.index(positive)] if positive else range(len(card.classes))
        metrics = classification_metrics(present.argmax(axis=1), probabilities, counts, ranked)
    else:
        metrics = multilabel_metrics(present, probabilities, counts)
    value = of_whole_set(metrics).get(metric)
    worth = images_worth(metric, present.sum(axis=0), len(present))
    return (0.0, 0.0) if value is None else (value, worth)
