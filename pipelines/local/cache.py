"""The cache of `kfp.local`: one JSON file per executed task, which names its artifacts by path.

The cache lies in a folder named after the code (`code_version.code_digest`), the artifacts in one
folder per run. An entry may use artifacts of an earlier run.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["keep_metrics", "remove_unfinished", "remove_unused"]

_METRICS = ("system.Metrics", "system.ClassificationMetrics")


def _artifacts(cache_root: Path) -> Iterator[tuple[str, Path]]:
    """Yields schema and path of every artifact that the cache refers to."""
    for entry in cache_root.glob("*.json"):
        for output in json.loads(entry.read_text(encoding="utf-8")).values():
            if isinstance(output, dict) and "uri" in output:
                yield output["schema_title"], Path(output["uri"])


def keep_metrics(cache_root: Path) -> None:
    """Creates a file for every metrics artifact: KFP drops entries whose files are missing."""
    for schema, path in _artifacts(cache_root):
        if schema in _METRICS and path.parent.is_dir():
            path.touch()


def remove_unused(pipeline_root: Path, cache_root: Path) -> None:
    """Removes the caches of other code versions, and runs that no entry of this cache uses.

    The last run stays: tasks that are never cached have written to it, too.
    """
    for cache in cache_root.parent.iterdir():
        if cache != cache_root:
            shutil.rmtree(cache)
    used = {
        path.relative_to(pipeline_root).parts[0]
        for _, path in _artifacts(cache_root)
        # The output folder may have been moved since.
        if path.is_relative_to(pipeline_root)
    }
    # Their names end in the time.
    runs = sorted(pipeline_root.iterdir())
    for run in runs[:-1]:
        if run.name not in used:
            shutil.rmtree(run)


def remove_unfinished(state: Path) -> None:
    """Removes half-written files of stopped tasks, which have hidden names.

    Args:
        state: The folder that holds `artifacts` and `checkpoints`; no run may be using it.
    """
    # A task writes to RUN/TASK/ID/ARTIFACT, a file, and below it where it is a folder.
    for pattern in ("artifacts/**/.*", "checkpoints/**/.*"):
        for path in list(state.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
