"""The decision on a run, with all that it looks at."""

import functools
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp import dsl

from kfp_vision.components.data_import.component import list_sources
from kfp_vision.components.shared.artifacts.source_files import read_source_files
from kfp_vision.pipelines.arguments import inputs_of
from kfp_vision.pipelines.retraining.cron import is_due, read_zone
from kfp_vision.pipelines.retraining.decision import Decision, decide
from kfp_vision.pipelines.retraining.last_success import read_last_success
from kfp_vision.pipelines.retraining.newest_images import measure_champion
from kfp_vision.pipelines.retraining.triggers import LocalTime, Triggers

__all__ = ["decide_here", "decide_run"]


def decide_run(
    sources_dir: Path,
    champion_uri: str,
    images: tuple[str, str, bool],
    triggers: Triggers,
    times: LocalTime,
) -> Decision:
    """Returns whether there is anything to train.

    Args:
        sources_dir: The `sources` artifact: what lies behind the URIs now.
        champion_uri: Folder of champions, where the last success is recorded.
        images: `dataset_uri`, `dataset_format` and `follow_links`.
        triggers: Of the schedule.
        times: At which a run of the schedule may begin.

    Raises:
        ValueError: There is no folder of champions, or what is in it is not by kfp-vision.
        StorageError: The folder, or the newest images, cannot be reached.
    """
    if not champion_uri:
        raise ValueError(
            "A run that asks whether there is anything new needs `champion_uri`, where the last "
            "success is recorded. Received: none."
        )
    now = datetime.now(UTC)
    if times.time_zone and not is_due(times.cron, zone := read_zone(times.time_zone), now):
        return Decision(
            False,
            f"Nothing is looked for at {now.astimezone(zone):%H:%M} in {times.time_zone}: the "
            f"schedule is {times.cron!r} there.",
        )
    measure = functools.partial(measure_champion, champion_uri, *images)
    last = read_last_success(champion_uri)
    return decide(last, read_source_files(sources_dir), now, triggers, measure)


def decide_here(arguments: Mapping[str, Any], triggers: Triggers) -> Decision:
    """Returns the same on this machine, for the parameters of a run."""
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        sources = dsl.Artifact(uri=scratch)
        list_sources.python_func(sources=sources, **inputs_of(list_sources, arguments))
        images = (arguments["dataset_uri"], arguments["dataset_format"], arguments["follow_links"])
        return decide_run(Path(scratch), arguments["champion_uri"], images, triggers, LocalTime())
