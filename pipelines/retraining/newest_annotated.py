"""The champion on annotated images that it has never seen: their boxes, masks or keypoints.

An image shows many objects, so what a run has published of its test images cannot be weighted by
classes: those that are still in the dataset are predicted again.
"""

import heapq
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from kfp_vision.components.data_import.component import chosen_files
from kfp_vision.components.evaluation.component import score_on_splits
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.artifacts.source_files import SourceFiles
from kfp_vision.components.shared.datasets.store import label_arrays, open_split
from kfp_vision.pipelines.local.processes import use_tensorflow
from kfp_vision.pipelines.retraining.decision import NewestScore

__all__ = ["measure_annotated"]

_NEWEST, _TESTED = "newest images", "test images"


def measure_annotated(
    champion_uri: str,
    version: str,
    card: ModelCard,
    metric: str,
    source: tuple[str, str, str, bool],
    read: SourceFiles,
    tested: Collection[str],
    most: int,
) -> NewestScore | None:
    """Returns the champion's metric on the newest images and on its test; None without either.

    Args:
        champion_uri: Folder of the champions.
        version: Name of the champion.
        card: Of its model.
        metric: That decides.
        source: URI and format of the dataset, `unlabeled_uri`, and whether links are followed.
        read: What the run of the champion has read.
        tested: Paths of its test images.
        most: Images of each kind that are predicted.

    Raises:
        ValueError: No test image is left, or the annotations are not those that it has learned.
        StorageError: Images or model cannot be reached.
    """

    def choose(hashes: Mapping[str, int]) -> dict[str, str]:
        newest = _smallest({path: each for path, each in hashes.items() if read.lacks(each)}, most)
        if not newest:
            return {}
        there = {path: hashes[path] for path in tested if path in hashes}
        kept = _smallest({path: each for path, each in there.items() if read.holds(each)}, most)
        if not kept:
            raise ValueError(
                "The champion is measured on new images beside its test images, which must be in "
                f"the dataset as they were. Received: none of {len(tested)} in {source[0]!r}. "
                "Switch `max_metric_drop` off; new images and age still start a training."
            )
        return {**dict.fromkeys(kept, _TESTED), **dict.fromkeys(newest, _NEWEST)}

    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        folder = Path(scratch)
        about = (card.task, card.white_level, choose, folder)
        info = chosen_files().import_files(*source, *about)
        if info is None or {*info.splits} != {_NEWEST, _TESTED}:
            return None
        if info.keypoint_names != card.keypoint_names:
            raise ValueError(
                "The champion is measured on the keypoints that it has learned. Received: "
                f"{info.keypoint_names} in {source[0]!r}, and a champion for "
                f"{card.keypoint_names}. Remove `last_success.json` to train on these, or switch "
                "`max_metric_drop` off."
            )
        shown = {info.classes[label] for label in label_arrays(open_split(folder, _NEWEST))[0]}
        if unknown := sorted(shown - {*card.classes}):
            return NewestScore(metric, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), 0, unknown)
        use_tensorflow()
        scores = score_on_splits(champion_uri, version, folder, info, metric)
    if {*scores} != {_NEWEST, _TESTED}:
        return None
    newest, test = scores[_NEWEST], scores[_TESTED]
    return NewestScore(
        metric,
        test["value"],
        test["ci95"],
        newest["value"],
        newest["ci95"],
        info.splits[_NEWEST],
        tested_on=f"{info.splits[_TESTED]} of its test images, of the classes that both show",
    )


def _smallest(hashes: Mapping[str, int], most: int) -> list[str]:
    """Returns the paths whose hashes are smallest: a random sample."""
    return heapq.nsmallest(most, hashes, key=hashes.__getitem__)
