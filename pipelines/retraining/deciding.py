"""The decision on a run, with all that it looks at."""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp import dsl

from kfp_vision.components.data_import.component import list_sources
from kfp_vision.components.shared.artifacts.source_files import read_source_files
from kfp_vision.components.shared.champions.store import read_champions
from kfp_vision.pipelines.arguments import inputs_of
from kfp_vision.pipelines.retraining.cron import missed_time, read_zone
from kfp_vision.pipelines.retraining.decision import Decision, decide, seed_anew
from kfp_vision.pipelines.retraining.last_success import read_last_success
from kfp_vision.pipelines.retraining.newest_images import measure_champion
from kfp_vision.pipelines.retraining.triggers import LocalTime, Triggers

__all__ = ["Plan", "plan_here", "plan_run"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        train: Whether to train.
        reason: One sentence.
        seed: Of the run.
        versions: Outputs of `list_sources`.
    """

    train: bool
    reason: str
    seed: int
    versions: tuple[str, ...]


def plan_run(
    sources: dsl.Artifact, uris: Mapping[str, Any], triggers: Triggers, times: LocalTime
) -> Plan:
    """Returns whether there is anything to train, and from what.

    Args:
        sources: The `sources` artifact, which is written.
        uris: The inputs of `list_sources`.
        triggers: Of the schedule.
        times: At which a run of the schedule may begin.

    Raises:
        ValueError: There is no folder of champions, or what is in it is not by kfp-vision.
        StorageError: The folder, or the newest images, cannot be reached.
    """
    if not uris["champion_uri"]:
        raise ValueError(
            "A run that asks whether there is anything new needs `champion_uri`, where the last "
            "success is recorded. Received: none."
        )
    versions, seed = list_sources.python_func(sources=sources, **uris), uris["seed"]
    decision = _decide(Path(sources.path), uris, triggers, times)
    if decision.anew and (last := read_last_success(uris["champion_uri"])):
        # Which images keep their split depends on the seed.
        seed = seed_anew(seed, last)
        versions = list_sources.python_func(sources=sources, **{**uris, "seed": seed})
    return Plan(decision.train, decision.reason, seed, versions)


def _decide(
    sources_dir: Path, uris: Mapping[str, Any], triggers: Triggers, times: LocalTime
) -> Decision:
    now = datetime.now(UTC)
    if times.time_zone:
        zone = read_zone(times.time_zone)
        if missed := missed_time(times.cron, zone, times.created(now)):
            return Decision(
                False,
                f"Nothing is looked for at {missed.astimezone(zone):%H:%M} in {times.time_zone}: "
                f"the schedule is {times.cron!r} there. To run now, clone this run with an empty "
                "`time_zone`.",
            )
    champion_uri = uris["champion_uri"]
    names = ("dataset_uri", "dataset_format", "unlabeled_uri", "follow_links")
    images = [uris[name] for name in names]
    return decide(
        read_last_success(champion_uri),
        read_source_files(sources_dir),
        now,
        triggers,
        read_champions(champion_uri),
        functools.partial(measure_champion, champion_uri, *images),
    )


def plan_here(arguments: Mapping[str, Any], triggers: Triggers) -> Plan:
    """Returns the same on this machine, for the parameters of a run."""
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        uris = inputs_of(list_sources, arguments)
        return plan_run(dsl.Artifact(uri=scratch), uris, triggers, LocalTime())
