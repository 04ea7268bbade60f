"""The champion on images that it has never seen: files of the dataset that its run has not read.

Labels of whole images are compared with its test images in the same mix of classes: more images of
a class that it finds hard are no drop. `newest_annotated.py` has the other tasks. C classes; N
images; a label is the names of an image's classes, joined by `|`.
"""

import dataclasses
import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq

from kfp_vision.components.data_import.component import chosen_files
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.artifacts.source_files import (
    HASHES_FILE,
    SOURCES_FILE,
    SourceFiles,
    read_source_files,
)
from kfp_vision.components.shared.champions.store import (
    SOURCES_FOLDER,
    fetch_version,
    read_champions,
    version_uri,
)
from kfp_vision.components.shared.metrics.intervals import images_worth, wilson_interval
from kfp_vision.components.shared.metrics.scores import (
    classification_metrics,
    multilabel_metrics,
    of_whole_set,
)
from kfp_vision.components.shared.runtime.storage import open_folder
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.retraining.decision import NewestScore
from kfp_vision.pipelines.retraining.newest_annotated import measure_annotated
from kfp_vision.pipelines.serving.predict import Model

__all__ = ["measure_champion"]

# Predicted in seconds; the interval of an accuracy of 0.9 is then 0.05 wide.
_MAX_IMAGES = 500
_REPORT, _PREDICTIONS = "report.json", "predictions.parquet"
_SOURCES = tuple(f"{SOURCES_FOLDER}/{name}" for name in (SOURCES_FILE, HASHES_FILE))
_MODEL = "model/model.onnx"
_SEPARATOR = "|"

# Path, labels.
_Labelled = tuple[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What the champion says of images.

    Attributes:
        labels: Of each image, N.
        probabilities: [N, C].
    """

    labels: Sequence[str]
    probabilities: np.ndarray


def measure_champion(
    champion_uri: str,
    dataset_uri: str,
    dataset_format: str,
    unlabeled_uri: str,
    follow_links: bool,
) -> NewestScore | None:
    """Returns the champion's metric on the newest images and on its test; None without either.

    Args:
        champion_uri: Folder of the champions.
        dataset_uri: Of the images; of more than 500 new ones a random sample is predicted.
        dataset_format: As of `run`.
        unlabeled_uri: The same; these images are not measured.
        follow_links: The same.

    Raises:
        ValueError: The champion's version lacks one of the files that are needed.
        StorageError: Images or model cannot be reached.
    """
    champion = read_champions(champion_uri).champion
    if not champion:
        return None
    place = version_uri(champion_uri, champion)
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        folder, needed = Path(scratch), (_REPORT, _PREDICTIONS, *_SOURCES)
        files = fetch_version(champion_uri, champion, needed, folder).files
        if absent := [name for name in needed if name not in files]:
            raise ValueError(
                f"A champion must have {', '.join(needed)} to be measured. Received: {place} "
                f"without {', '.join(absent)}. Promote another version, or switch "
                "`max_metric_drop` off."
            )
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        metrics = report["metrics"]
        tested, read = (
            pq.read_table(folder / _PREDICTIONS),
            read_source_files(folder / SOURCES_FOLDER),
        )
    # ONNX starts in a tenth of the time of TensorFlow, where it is as good.
    passed = {each["path"] for each in report["exports"] if each["passed"]}
    is_good = _MODEL in files and PurePosixPath(_MODEL).name in passed
    model = Model(f"{place}/{_MODEL}" if is_good else place)
    source = (dataset_uri, dataset_format, unlabeled_uri, follow_links)
    if TASKS[model.card.task].is_spatial:
        paths = tested["path"].to_pylist()
        about = (champion_uri, champion, model.card, metrics["primary"])
        return measure_annotated(*about, source, read, paths, _MAX_IMAGES)
    one_class = TASKS[model.card.task].one_class
    found = _newest(source, read)
    newest = [each for each in found if each[1] or not one_class]
    if not newest:
        return None
    classes, primary, positive = model.card.classes, metrics["primary"], metrics["positive_class"]
    unknown = sorted({label for _, labels in newest for label in labels} - {*classes})
    if unknown:
        return NewestScore(primary, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), 0, unknown)
    columns = [tested[f"p_{name}"].to_numpy() for name in classes]
    before = _Answers(tested["label"].to_pylist(), np.stack(columns, axis=1))
    after = _predict(model, dataset_uri, newest)
    return _compare(model.card, primary, positive and positive["name"], before, after)


def _newest(source: tuple[str, str, str, bool], read: SourceFiles) -> list[_Labelled]:
    """Returns those of the new images whose hashes are smallest: a random sample."""
    files = chosen_files().labelled_files(*source)
    found = ((digest, path, labels) for path, labels, digest in files if read.lacks(digest))
    return [(path, labels) for _, path, labels in heapq.nsmallest(_MAX_IMAGES, found)]


def _predict(model: Model, dataset_uri: str, newest: Sequence[_Labelled]) -> _Answers:
    """Returns the answers on files; those that cannot be read are left out, as in the import."""
    classes, root = model.card.classes, open_folder(dataset_uri)[0].uri
    rows = model.stream([f"{root}/{path}" for path, _ in newest])
    read = [
        (
            # In the order of predictions.parquet.
            _SEPARATOR.join(name for name in classes if name in labels),
            [row.row[f"p_{name}"] for name in classes],
        )
        for (_, labels), row in zip(newest, rows, strict=True)
        if not row.row["error"]
    ]
    probabilities = np.array([each for _, each in read], float).reshape(len(read), len(classes))
    return _Answers([label for label, _ in read], probabilities)


def _compare(
    card: ModelCard, metric: str, positive: str | None, tested: _Answers, newest: _Answers
) -> NewestScore | None:
    """Returns the metric on images of the labels that both have, in the mix of the newest.

    A test image counts as often as there are newest images for one of its label in the test; what
    these weights leave of the number of images is that of Kish.

    Reference: Kish, 1965, Survey Sampling, section 11.7: (sum w)^2 / sum w^2.
    """
    now, before = Counter(newest.labels), Counter(tested.labels)
    is_common = np.array([label in before for label in newest.labels], bool)
    weights = np.array([now[label] / before[label] for label in tested.labels])
    found = [
        _score(card, metric, positive, tested, weights),
        _score(card, metric, positive, newest, is_common.astype(float)),
    ]
    if None in found:
        return None
    (value, interval), (new_value, new_interval) = filter(None, found)
    count = int(is_common.sum())
    return NewestScore(metric, value, interval, new_value, new_interval, count)


def _score(
    card: ModelCard, metric: str, positive: str | None, answers: _Answers, weights: np.ndarray
) -> tuple[float, tuple[float, float]] | None:
    """Returns a metric of images with weights [N], and its interval; None without a value."""
    rows = np.flatnonzero(weights)
    if not len(rows):
        return None
    names = [answers.labels[int(row)] for row in rows]
    is_one = TASKS[card.task].one_class
    held = [{name} if is_one else {*name.split(_SEPARATOR)} for name in names]
    present = np.array([[name in each for name in card.classes] for each in held], np.uint8)
    # The metrics take counts of images: at least 1.
    probabilities, counts = answers.probabilities[rows], weights[rows, None] / weights[rows].min()
    if is_one:
        ranked = [card.classes.index(positive)] if positive else range(len(card.classes))
        metrics = classification_metrics(present.argmax(axis=1), probabilities, counts, ranked)
    else:
        metrics = multilabel_metrics(present, probabilities, counts)
    value = of_whole_set(metrics).get(metric)
    if value is None:
        return None
    images = float(counts.sum() ** 2 / (counts**2).sum())
    worth = images_worth(metric, present.sum(axis=0), images)
    return value, wilson_interval(min(value, 1.0), worth)
