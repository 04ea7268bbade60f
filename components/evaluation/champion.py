"""The gate: a model and the champion on the same test images, N of them.

The frozen test set are the test images of the champion that are still in the test split, the newest
those that it has not known. Images that either model was trained on are left out.
"""

import contextlib
import dataclasses
import hashlib
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

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
from kfp_vision.components.evaluation.inference import SplitOutputs
from kfp_vision.components.shared.artifacts.champion_comparison import (
    ChampionComparison,
    ComparedPart,
    Decision,
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

__all__ = ["Champion", "ScoredTest", "compare_with_champion", "fetched_champion", "version_name"]

# Of a probability: the same model in another file, or with its temperature inside.
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
    """

    gate: Gate
    uri: str
    version: str = ""
    folder: Path | None = None

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
        """Returns the `source_sha256` of the images of a split; none where there is no such split."""
        if split not in self.info.splits:
            return pa.array([], pa.binary(32))
        return open_split(self.dataset_dir, split)["source_sha256"].combine_chunks()

    def compared(self, known: KnownImages) -> dict[str, np.ndarray]:
        """Returns the rows, int, of the images to compare: of `all`, `frozen` and `newest`."""
        tested = self.digests("test")
        trained = pa.concat_arrays([self.digests("train"), self.digests("validation")])
        before, own = known.splits_of(tested), pc.is_in(tested, value_set=trained).to_numpy(False)
        frozen, newest = (before == "test") & ~own, (before == "") & ~own
        masks = {"all": frozen | newest, "frozen": frozen, "newest": newest}
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
            fetch_version(uri, version, (*CHAMPION_FILES, IMAGES_FILE), Path(scratch))
            yield Champion(gate, uri, version, Path(scratch))


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
    if TASKS[card.task].one_class != TASKS[test.info.task].one_class:
        tasks = f"it is for {card.task}, the model for {test.info.task}."
        return _not_comparable(champion, version, test, tasks)
    rows = test.compared(champion.known_images())
    left_out = test.info.splits["test"] - len(rows["all"])
    if not len(rows["all"]):
        reason = f"one of the two was trained on all {left_out} test images."
        return _not_comparable(champion, version, test, reason, left_out=left_out)
    shape = (card.image_size[0], card.image_size[1], card.channels)
    classes = test.info.classes
    images = open_labelled(
        test.dataset_dir, "test", shape, test.task, len(classes), cache=test.cache
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
    is_same = all(np.allclose(ours[name], theirs[name], rtol=0, atol=_SAME) for name in ours)
    if is_same:
        theirs = ours
    parts = [
        _score_part(test, name, ours, theirs, np.isin(rows["all"], rows[name]), bootstrap)
        for name in ("all", "frozen", "newest")
        if len(rows[name])
    ]
    whole = parts[0]
    if whole.difference is None:
        reason = f"{test.primary} is not defined on the {whole.num_images} images to compare."
        return _not_comparable(champion, version, test, reason, left_out=left_out)
    decision: Decision = "same"
    if not is_same:
        low, high = whole.difference["ci95"]
        decision = decide(low, high, champion.gate.margin)
    sentence = explain(decision, champion.gate, champion.version, test.primary, whole)
    return dataclasses.replace(
        _comparison(champion, version, test, decision, sentence),
        parts=parts,
        left_out=left_out,
        classes_added=[name for name in classes if name not in card.classes],
        classes_removed=[name for name in card.classes if name not in classes],
        notes=[*_notes(card, test)],
    )


def _score_part(
    test: ScoredTest,
    name: Literal["all", "frozen", "newest"],
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
