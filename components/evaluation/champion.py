"""The gate: a model and the champion on the same test images, N of them.

The frozen test set are the test images of the champion that are still in the test split, the newest
those that it has not known. Images that either model was trained on are left out. Where the model
has more classes, the images of those that the champion knows are judged on their own, too.
"""

import contextlib
import dataclasses
import hashlib
import tempfile
import traceback
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfp_vision.components.evaluation.bootstrap import score_against_rivals
from kfp_vision.components.evaluation.champion_model import (
    CHAMPION_FILES,
    map_classes,
    open_champion,
)
from kfp_vision.components.evaluation.champion_rules import Gate, decide, explain
from kfp_vision.components.shared.artifacts.champion_comparison import (
    ChampionComparison,
    ComparedPart,
    Decision,
    PartName,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.champions.known_images import (
    IMAGES_FILE,
    KnownImages,
    read_known_images,
)
from kfp_vision.components.shared.champions.store import fetch_version
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.runtime.disk import is_disk_full
from kfp_vision.components.shared.tasks import TASKS, Records, Task
from kfp_vision.components.shared.tasks.records import join_records
from kfp_vision.components.shared.training.inference import SplitOutputs

__all__ = ["Champion", "ScoredTest", "compare_with_champion", "fetched_champion", "version_name"]

# Of a probability, or of the most pixels: the same model in another file, or with its temperature
# inside.
_SAME = 1e-5
_CHAMPION = "champion"


@dataclasses.dataclass(frozen=True)
class Champion:
    """What a model is compared with, and by which rule.

    Attributes:
        gate: The rule.
        uri: The folder of champions.
        version: Name of the champion; empty without one.
        folder: Holds its files; None without one.
        below_best: What it is below the best champion of its line, see `champion_rules.py`.
    """

    gate: Gate
    uri: str
    version: str = ""
    folder: Path | None = None
    below_best: float = 0.0

    def known_images(self) -> KnownImages:
        """Returns the images that the champion has known; none without one."""
        return read_known_images(self.folder / IMAGES_FILE) if self.folder else KnownImages()


@dataclasses.dataclass(frozen=True)
class ScoredTest:
    """The test images of this run, and what the model says of them.

    Attributes:
        dataset_dir: Of `train` and `validation` the digests are enough.
        info: Of the dataset.
        task: Of the images.
        primary: The metric that decides.
        records: Of the model on all test images.
        cache: Keeps decoded images.
    """

    dataset_dir: Path
    info: DatasetInfo
    task: Task
    primary: str
    records: Records
    cache: ImageCache | None = None

    def digests(self, split: str) -> pa.Array:
        """Returns `source_sha256` of the images of a split; none where there is no such split."""
        if split not in self.info.splits:
            return pa.array([], pa.binary(32))
        return open_split(self.dataset_dir, split)["source_sha256"].combine_chunks()

    def compared(self, known: KnownImages, classes: Collection[str]) -> dict[PartName, np.ndarray]:
        """Returns the rows, int, of the images to compare: of all parts.

        Args:
            known: To the champion.
            classes: That it knows.
        """
        tested = self.digests("test")
        trained = pa.concat_arrays([self.digests("train"), self.digests("validation")])
        before, own = known.splits_of(tested), pc.is_in(tested, value_set=trained).to_numpy(False)
        frozen, newest = (before == "test") & ~own, (before == "") & ~own
        masks: dict[PartName, np.ndarray] = {"all": frozen | newest, "frozen": frozen}
        masks["newest"] = newest
        added = {index for index, name in enumerate(self.info.classes) if name not in classes}
        if added:
            labels = open_split(self.dataset_dir, "test")["labels"].to_pylist()
            old = np.array([added.isdisjoint(each) for each in labels], bool)
            masks["old_classes"] = masks["all"] & old
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}


@contextlib.contextmanager
def fetched_champion(uri: str, version: str, gate: Gate) -> Iterator[Champion | None]:
    """Yields the champion on this machine; None where no folder of champions is given.

    Args:
        uri: The folder of champions; empty for none.
        version: Name of the champion; empty without one.
        gate: The rule.

    Raises:
        ValueError: There is no such version.
        StorageError: It cannot be read, or is damaged.
    """
    if not uri:
        yield None
    elif not version:
        yield Champion(gate, uri)
    else:
        with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
            names = (*CHAMPION_FILES, IMAGES_FILE)
            comparison = fetch_version(uri, version, names, Path(scratch)).comparison
            # Who promotes a model by hand, against its comparison, begins a new line.
            below = comparison.get("below_best", 0.0) if comparison.get("promotes") else 0.0
            yield Champion(gate, uri, version, Path(scratch), below)


def _kind(task: str) -> str | bool:
    """Returns what tasks must have in common: binary and multiclass predict the same."""
    return task if TASKS[task].is_spatial else TASKS[task].one_class


def version_name(model: Path) -> str:
    """Returns a name for a model file: the time, UTC, and the beginning of its digest."""
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{digest[:8]}"


def compare_with_champion(
    champion: Champion, version: str, test: ScoredTest, bootstrap: tuple[int, int]
) -> ChampionComparison:
    """Compares a model that has passed with the champion, on the same images.

    A champion that cannot be opened or predicts other things is never replaced: only by hand.

    Args:
        champion: With its files, if there is one.
        version: Name of the model.
        test: The images, and what the model says of them.
        bootstrap: Number of resamples and seed.
    """
    if champion.folder is None:
        return _comparison(champion, version, test, "first", "The model is the first champion.")
    try:
        card, infer = open_champion(champion.folder)
    except ValueError as error:
        return _not_comparable(champion, version, test, str(error))
    if _kind(card.task) != _kind(test.info.task):
        tasks = f"it is for {card.task}, the model for {test.info.task}."
        return _not_comparable(champion, version, test, tasks)
    if card.keypoint_names != test.info.keypoint_names:
        names = f"its keypoints are {card.keypoint_names}, not {test.info.keypoint_names}."
        return _not_comparable(champion, version, test, names)
    rows = test.compared(champion.known_images(), card.classes)
    left_out = test.info.splits["test"] - len(rows["all"])
    if not len(rows["all"]):
        reason = f"one of the two was trained on all {left_out} test images."
        return _not_comparable(champion, version, test, reason, left_out=left_out)
    shape = (card.image_size[0], card.image_size[1], card.channels)
    classes = test.info.classes
    images = open_labelled(
        test.dataset_dir,
        "test",
        shape,
        test.task,
        len(classes),
        cache=test.cache,
        is_judged=True,
    )
    outputs = SplitOutputs(infer, images, rows["all"], "evaluate champion")
    try:
        theirs = join_records(
            test.task.record(targets, map_classes(each, card.classes, classes))
            for targets, each in outputs
        )
    # Runtimes raise what they like.
    except Exception as error:
        if is_disk_full(error):
            raise
        traceback.print_exc()
        return _not_comparable(champion, version, test, f"{type(error).__name__}: {error}")
    ours = {name: held[rows["all"]] for name, held in test.records.items()}
    is_same = all(_is_same(held, theirs[name]) for name, held in ours.items())
    if is_same:
        theirs = ours
    parts = [
        _score_part(test, name, ours, theirs, np.isin(rows["all"], rows[name]), bootstrap)
        for name in rows
        if len(rows[name])
    ]
    whole = parts[0]
    if whole.difference is None:
        reason = f"{test.primary} is not defined on the {whole.num_images} images to compare."
        return _not_comparable(champion, version, test, reason, left_out=left_out)
    decision, deciding, below = _judge(champion, parts)
    if is_same:
        decision = "same"
    sentence = explain(
        decision, champion.gate, champion.version, test.primary, deciding, champion.below_best
    )
    return dataclasses.replace(
        _comparison(champion, version, test, decision, sentence),
        below_best=below,
        parts=parts,
        left_out=left_out,
        classes_added=[name for name in classes if name not in card.classes],
        classes_removed=[name for name in card.classes if name not in classes],
        notes=[*_notes(card, test)],
    )


def _is_same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Returns whether a part of two records differs by no more than rounding."""
    most = float(np.abs(ours[np.isfinite(ours)]).max(initial=1.0))
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=_SAME * most)


def _judge(
    champion: Champion, parts: Sequence[ComparedPart]
) -> tuple[Decision, ComparedPart, float]:
    """Returns the decision, the part that has made it, and what the model is below the best.

    The champion gets no image of a class right that it does not know: that must not make up for a
    fall on the others, which are judged first.

    Args:
        champion: With its rule.
        parts: The first one of all images, with a difference.
    """
    judged = [each for each in parts if each.name == "old_classes" and each.difference]
    judged.append(parts[0])
    differences = [each.difference or {} for each in judged]
    margin, below = champion.gate.margin, champion.below_best
    decisions = [
        decide(held["ci95"][0], held["ci95"][1], margin, held["value"], below)
        for held in differences
    ]
    failed = (n for n, each in enumerate(decisions) if each not in ("better", "not_worse"))
    number = next(failed, len(judged) - 1)
    return decisions[number], judged[number], max(0.0, below - differences[0]["value"])


def _score_part(
    test: ScoredTest,
    name: PartName,
    ours: Records,
    theirs: Records,
    mask: np.ndarray,
    bootstrap: tuple[int, int],
) -> ComparedPart:
    ours, theirs = ({key: held[mask] for key, held in each.items()} for each in (ours, theirs))
    scores, rivals = score_against_rivals(test.task, ours, {_CHAMPION: theirs}, *bootstrap)
    model, rival = scores.get(test.primary), rivals[_CHAMPION].get(test.primary)
    count = int(mask.sum())
    if model is None or rival is None:
        return ComparedPart(name, count)
    rival = dict(rival)
    return ComparedPart(name, count, model, difference=rival.pop("difference"), champion=rival)


def _notes(card: ModelCard, test: ScoredTest) -> Iterator[str]:
    if card.white_level != test.info.white_level:
        yield (
            f"The champion has learned 16-bit pixels scaled by 255/{card.white_level}; those here "
            f"are scaled by 255/{test.info.white_level}."
        )
    if card.channels == 1 and test.info.channels == 3:
        yield "The champion sees the images in gray."


def _not_comparable(
    champion: Champion, version: str, test: ScoredTest, reason: str, left_out: int = 0
) -> ChampionComparison:
    sentence = (
        f"The model does not replace the champion {champion.version}, with which it cannot be "
        f"compared: {reason} `kfp-vision promote` does."
    )
    made = _comparison(champion, version, test, "not_comparable", sentence)
    return dataclasses.replace(made, left_out=left_out)


def _comparison(
    champion: Champion, version: str, test: ScoredTest, decision: Decision, sentence: str
) -> ChampionComparison:
    return ChampionComparison(
        uri=champion.uri,
        version=version,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        champion=champion.version,
        decision=decision,
        promotes=champion.gate.opens(decision),
        sentence=sentence,
        rule=champion.gate.rule,
        margin=champion.gate.margin,
        primary=test.primary,
    )
