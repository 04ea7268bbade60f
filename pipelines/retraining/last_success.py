"""`last_success.json` in the folder of the champions: when a run succeeded, and what it had read.

The hashes of the files lie beside it, in a file that is called after its content: the record is
replaced by one write, and names hashes that are there.
"""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.artifacts.source_files import SourceFiles, read_source_files
from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    edit_document,
    read_document,
    remove,
    upload,
)

__all__ = [
    "LAST_SUCCESS_FILE",
    "LastSuccess",
    "read_last_success",
    "record_success",
    "write_last_success",
]

LAST_SUCCESS_FILE = "last_success.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class LastSuccess:
    """The last run that succeeded.

    Attributes:
        finished_at: When its results were published, UTC.
        sources: What it had read.
    """

    finished_at: datetime
    sources: SourceFiles


def record_success(champion_uri: str, sources_dir: Path) -> None:
    """Records that a run has succeeded now; its `sources` artifact says what it has read.

    Raises:
        StorageError: The folder cannot be written.
    """
    write_last_success(champion_uri, read_source_files(sources_dir), datetime.now(UTC))


def write_last_success(champion_uri: str, sources: SourceFiles, finished_at: datetime) -> None:
    """Replaces the record.

    Raises:
        StorageError: The folder cannot be written.
    """
    uri = champion_uri.rstrip("/")
    content = sources.hashes.astype("<u8").tobytes()
    name = f"files-{hashlib.sha256(content).hexdigest()[:16]}.u64"
    record = {
        "format": _FORMAT,
        "kfp_vision_version": version("kfp-vision"),
        "finished_at": finished_at.astimezone(UTC).isoformat(timespec="seconds"),
        "versions": sources.versions,
        "num_files": sources.num_files,
        "files": name,
    }
    stale: list[str] = []

    def replace(before: bytes | None) -> bytes:
        stale[:] = _files_of(before)
        return (json_text(record, indent=1) + "\n").encode()

    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        path = Path(scratch, name)
        path.write_bytes(content)
        upload(path, f"{uri}/{name}")
    edit_document(f"{uri}/{LAST_SUCCESS_FILE}", replace)
    for each in {*stale} - {name}:
        # Without the right to remove it stays.
        with contextlib.suppress(StorageError):
            remove(f"{uri}/{each}")


def _files_of(content: bytes | None) -> list[str]:
    """Returns the file of hashes that a record names, if it is one."""
    try:
        return [json.loads(content or b"{}")["files"]]
    except (ValueError, KeyError, TypeError):
        return []


def read_last_success(champion_uri: str) -> LastSuccess | None:
    """Returns the record; None without one, and where its hashes are gone or damaged.

    Then one more run is trained than had to be.

    Raises:
        ValueError: The file is not a record of this version of kfp-vision.
        StorageError: The folder cannot be reached.
    """
    uri = champion_uri.rstrip("/")
    content = read_document(f"{uri}/{LAST_SUCCESS_FILE}")
    if content is None:
        return None
    try:
        record = json.loads(content)
        if record["format"] != _FORMAT:
            raise ValueError(f"format {record['format']}")
        finished_at, name = datetime.fromisoformat(record["finished_at"]), record["files"]
        versions, num_files = dict(record["versions"]), int(record["num_files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{LAST_SUCCESS_FILE} must be written by kfp-vision, in format {_FORMAT}. Received: "
            f"that in {uri!r} ({type(error).__name__}: {error}). Remove it to train anew."
        ) from error
    hashes = read_document(f"{uri}/{name}")
    if hashes is None or hashlib.sha256(hashes).hexdigest()[:16] not in name:
        return None
    return LastSuccess(finished_at, SourceFiles(versions, num_files, np.frombuffer(hashes, "<u8")))
