"""Writes predictions: a row of each, and the files beside it in a folder of its own."""

import collections
import contextlib
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from kfp_vision.pipelines.serving.coco_file import CocoFile
from kfp_vision.pipelines.serving.predict import Prediction

__all__ = ["write_table"]

# In a folder of predictions: what is written, and that it was written here.
_WRITTEN, _MARK = ("masks", "keypoints", "pictures", "coco.json"), ".predictions"


def write_table(
    predictions: Iterable[Prediction],
    as_json: bool,
    stream: IO[str],
    output: Path | None = None,
    coco: CocoFile | None = None,
) -> bool:
    """Writes one row per prediction, as JSON lines or as CSV with a header, and their files.

    Args:
        predictions: Of images.
        as_json: Whether it is JSON lines.
        stream: Gets the rows.
        output: Folder of the files, whose names stand in the column `files`; None where there are
            none.
        coco: Gets the objects of all images and is written into the folder; None for none.

    Returns:
        Whether there was a prediction, and none failed.

    Raises:
        ValueError: The folder has files of others where those of predictions belong, or cannot be
            written.
    """
    if output is not None:
        _claim(output)
    writer: csv.DictWriter[str] | None = None
    # By whether the image failed; the key of predictions is None.
    counts: collections.Counter[bool | None] = collections.Counter()
    unread: dict[bool, dict[str, Any]] = {}
    written: set[str] = set()
    for each in predictions:
        row = each.row
        counts[each.failed if row["error"] else None] += 1
        if row["error"]:
            unread.setdefault(each.failed, row)
        if output is not None:
            names = "|".join(_write_files(each.files, output, written))
            row = {**row, "files": names}
        if coco is not None and row.get("objects"):
            coco.add(each.name, each.size, json.loads(row["objects"]))
        if each.note:
            print(f"kfp-vision: {row['path']} {each.note}", file=sys.stderr)
        if as_json:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
        writer.writerow(row)
    if output is not None and coco is not None:
        with _written(output):
            coco.write(output / "coco.json")
    is_fine = counts[None] > 0 and not counts[True]
    # Files that are no images count only where there is nothing else.
    kind = counts[True] > 0
    if not is_fine and kind in unread:
        print(
            f"kfp-vision: {counts[kind]} of {counts.total()} files cannot be read as images, the "
            f"first is {unread[kind]['path']}: {unread[kind]['error']}",
            file=sys.stderr,
        )
    return is_fine


def _claim(output: Path) -> None:
    """Makes a folder one of predictions, unless it has files of others in their place."""
    taken = [name for name in _WRITTEN if (output / name).exists()]
    if taken and not (output / _MARK).exists():
        raise ValueError(
            f"The folder of predictions must not have {', '.join(_WRITTEN)} of others, which would "
            f"be replaced. Received: {output} with {', '.join(taken)}. Name another one."
        )
    with _written(output):
        output.mkdir(parents=True, exist_ok=True)
        (output / _MARK).touch()


@contextlib.contextmanager
def _written(output: Path) -> Iterator[None]:
    """Says what to do where a file of predictions cannot be written."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"The output must be a folder that can be written. Received: {output}; "
            f"{error.filename or output}: {error.strerror}. Make room there, or name another one."
        ) from error


def _write_files(files: Mapping[str, bytes], output: Path, written: set[str]) -> list[str]:
    """Writes files into a folder and returns their names in it."""
    names = [_free_name(name, written) for name in files]
    for name, content in zip(names, files.values(), strict=True):
        path = output / name
        with _written(output):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return names


def _free_name(name: str, taken: set[str]) -> str:
    """Returns a name that is not taken, and takes it: a.png, or a-2.png where a.jpg came before."""
    stem, _, suffix = name.rpartition(".")
    names = itertools.chain([name], (f"{stem}-{number}.{suffix}" for number in itertools.count(2)))
    free = next(each for each in names if each not in taken)
    taken.add(free)
    return free
