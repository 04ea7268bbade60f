"""The cache of `kfp.local`: one JSON file per executed task, which names its artifacts by path.

The cache lies in a folder named after the code (`code_version.code_digest`), the artifacts in one
folder per run. An entry may use artifacts of an earlier run.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

__all__ = ["keep_metrics", "remove_earlier", "remove_unfinished", "remove_unused"]

# Of the checkpoints: what trainings on other data use, too.
_SHARED = ("features", "images")
_METRICS = ("system.Metrics", "system.ClassificationMetrics")


def _artifacts(cache_root: Path) -> Iterator[tuple[Path, str, Path]]:
    """Yields entry, schema and path of every artifact that the cache refers to.

    An entry that a power cut has left empty is removed: KFP takes it for none, too.
    """
    for entry in list(cache_root.glob("*.json")):
        try:
            outputs = json.loads(entry.read_text(encoding="utf-8"))
        except ValueError:
            entry.unlink()
            continue
        for output in outputs.values():
            if isinstance(output, dict) and "uri" in output:
                yield entry, output["schema_title"], Path(output["uri"])


def keep_metrics(cache_root: Path) -> None:
    """Creates a file for every metrics artifact: KFP drops entries whose files are missing."""
    for _, schema, path in _artifacts(cache_root):
        if schema in _METRICS and path.parent.is_dir():
            path.touch()


def remove_unused(pipeline_root: Path, cache_root: Path, in_use: Collection[str] = ()) -> None:
    """Removes the caches of other code versions, and runs that no entry of this cache uses.

    The last run stays: tasks that are never cached have written to it, too.

    Args:
        pipeline_root: Holds a folder for each run.
        cache_root: Of this code.
        in_use: Folders of runs that stay, too.
    """
    for cache in cache_root.parent.iterdir():
        if cache != cache_root:
            shutil.rmtree(cache)
    used = {
        *in_use,
        *(
            path.relative_to(pipeline_root).parts[0]
            for _, _, path in _artifacts(cache_root)
            # The output folder may have been moved since.
            if path.is_relative_to(pipeline_root)
        ),
    }
    # Their names end in the time.
    runs = sorted(pipeline_root.iterdir())
    for run in runs[:-1]:
        if run.name not in used:
            shutil.rmtree(run)


def remove_earlier(state: Path, cache_root: Path, used: Iterable[str], since: float) -> None:
    """Removes what runs before the last one have left, but for what that has used.

    Each run on more data keeps the decoded dataset, its models and its checkpoints: without end.

    Args:
        state: The folder that holds `artifacts` and `checkpoints`; no run may be using it.
        cache_root: Of this code.
        used: URIs of the artifacts of the last run.
        since: When that began, seconds of the epoch.
    """
    root = state / "artifacts"
    runs = [Path(uri).relative_to(root).parts[0] for uri in used if Path(uri).is_relative_to(root)]
    for entry, _, path in _artifacts(cache_root):
        if path.is_relative_to(root) and path.relative_to(root).parts[0] not in runs:
            entry.unlink(missing_ok=True)
    remove_unused(root, cache_root, runs)
    for folder in (state / "checkpoints").iterdir():
        changed = [path.stat().st_mtime for path in folder.rglob("*")]
        if folder.name not in _SHARED and max(changed, default=0.0) < since:
            shutil.rmtree(folder)


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
