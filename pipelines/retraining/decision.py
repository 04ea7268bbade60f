"""Whether there is anything to train: what is there now against the last run that succeeded.

The triggers are asked in the order of their cost: no record, a model that was overtaken, another
dataset, recipe or model file, the age of the record, the share of new files; then, where the share
is too small to decide, the champion is measured on the newest images.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from kfp_vision.components.shared.artifacts.source_files import SourceFiles, changed_share
from kfp_vision.components.shared.champions.history import Champions
from kfp_vision.components.shared.runtime.seeds import MAX_SEED
from kfp_vision.pipelines.retraining.last_success import LastSuccess
from kfp_vision.pipelines.retraining.triggers import Triggers

__all__ = ["Decision", "NewestScore", "decide", "drop_interval", "seed_anew"]

# Whose change says that new files are there; the others mean another training.
_FILES = ("dataset_version", "unlabeled_version")
_SETTINGS = {
    "dataset_uri": "URI of the dataset",
    "recipe_version": "recipe",
    "architecture_version": "architecture",
}
_DAY = timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class NewestScore:
    """The champion on images that it has not seen, beside its test images.

    Attributes:
        metric: That decides.
        tested: Value on its test images.
        tested_ci95: (low, high).
        newest: Value on the newest images.
        newest_ci95: (low, high).
        num_images: Newest images that were compared: the test has some of their classes.
        unknown: Classes of theirs that the champion does not know.
        tested_on: What of the test was compared, in words.
    """

    metric: str
    tested: float
    tested_ci95: Sequence[float]
    newest: float
    newest_ci95: Sequence[float]
    num_images: int
    unknown: Sequence[str] = ()
    tested_on: str = "its test images in the same mix of classes"


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether to train, and why.

    Attributes:
        train: Whether.
        reason: One sentence.
        anew: Whether nothing that a run reads has changed: with the same seed all of it would come
            from the cache.
    """

    train: bool
    reason: str
    anew: bool = False


def decide(
    last: LastSuccess | None,
    now: SourceFiles,
    at: datetime,
    triggers: Triggers,
    champions: Champions,
    measure: Callable[[], NewestScore | None],
) -> Decision:
    """Returns whether there is anything to train.

    Args:
        last: The record of the last success; None without one.
        now: What lies behind the URIs.
        at: The time, UTC.
        triggers: Of the schedule.
        champions: Of the folder in which the record lies.
        measure: Scores the champion on files that it has not read; None where there is nothing to
            measure. Called last, when nothing else decides.
    """
    if last is None:
        return Decision(True, "No run has succeeded yet: there is no record of one.")
    newest = champions.history[-1] if champions.history else None
    if (
        newest
        and newest.kind == "overtaken"
        and datetime.fromisoformat(newest.at) > last.finished_at
    ):
        text = f"{newest.version} was compared with a champion that had been replaced meanwhile"
        return Decision(True, f"{text}: it is compared with the present one.")
    before, since = last.sources.versions, f"since {last.finished_at:%Y-%m-%d %H:%M} UTC"
    for version, what in _SETTINGS.items():
        if now.versions[version] != before.get(version):
            return Decision(True, f"The {what} has changed {since}.")
    is_same = all(now.versions[name] == before[name] for name in _FILES)
    age_days = (at - last.finished_at) / _DAY
    if 0 < triggers.max_age_days <= age_days:
        text = f"The last success is {age_days:.3g} days old, at least {triggers.max_age_days:g}"
        same = "; no file has changed, so another seed is used" if is_same else ""
        return Decision(True, f"{text}{same}.", anew=is_same)
    if is_same:
        return Decision(False, f"Nothing new: no file has changed {since}.")
    # A file that a sample has missed is one file.
    share = changed_share(last.sources, now) or 1 / max(1, now.num_files)
    found = f"{share:.2%} of {now.num_files:,} files are new, changed or gone {since}"
    if share >= triggers.min_new_share:
        return Decision(True, f"{found}.")
    found = f"{found}, below {triggers.min_new_share:.2%}"
    score = measure() if triggers.max_metric_drop else None
    if score is None:
        return Decision(False, f"Nothing new: {found}.")
    if score.unknown:
        names = ", ".join(score.unknown[:3])
        return Decision(True, f"The champion does not know the newest images' classes: {names}.")
    said = (
        f"{score.metric} of the champion is {score.newest:.3f} on {score.num_images} images that "
        f"it has not read, {score.tested:.3f} on {score.tested_on}"
    )
    limit = f"a drop above {triggers.max_metric_drop:g}"
    low, _ = drop_interval(score)
    if low > triggers.max_metric_drop:
        return Decision(True, f"{said}: surely {limit}.")
    return Decision(False, f"Nothing new: {found}; {said}: not surely {limit}.")


def seed_anew(seed: int, last: LastSuccess) -> int:
    """Returns the seed of a run for which nothing has changed.

    The same again after a failure, so that the training goes on: a success makes another one.
    """
    return (seed + int(last.finished_at.timestamp())) % (MAX_SEED + 1)


def drop_interval(score: NewestScore) -> tuple[float, float]:
    """Returns the 95 % interval of the drop, test minus newest, of two independent sets of images.

    low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2), high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2) with
    d = p1 - p2: nobody's interval is [0, 0] where all answers of both sets are right.

    Reference: Newcombe, 1998, Statistics in Medicine 17, "Interval estimation for the difference
    between independent proportions", method 10.
    """
    (low_1, high_1), (low_2, high_2) = score.tested_ci95, score.newest_ci95
    drop = score.tested - score.newest
    below = math.hypot(score.tested - low_1, high_2 - score.newest)
    above = math.hypot(high_1 - score.tested, score.newest - low_2)
    return drop - below, drop + above
