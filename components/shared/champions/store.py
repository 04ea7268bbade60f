"""Champions in a folder, local or in a bucket: `champion.json` and `versions/NAME/`.

A version is there before `champion.json` names it, and is not changed afterwards. Whoever changes
`champion.json` sees what others have added meanwhile.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.champions.history import (
    Champions,
    Entry,
    Kind,
    parse_champions,
)
from kfp_vision.components.shared.champions.known_images import (
    IMAGES_FILE,
    KnownImages,
    read_known_images,
)
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    download,
    edit_document,
    publish,
    read_document,
)
from kfp_vision.components.shared.runtime.storage.manifests import FileRecord, digest_of_file
from kfp_vision.components.shared.runtime.storage.publishing import files_below

__all__ = [
    "LINEAGE_FILE",
    "SOURCES_FOLDER",
    "ImportFacts",
    "Lineage",
    "add_version",
    "check_writable",
    "fetch_known_images",
    "fetch_version",
    "promote",
    "read_champions",
    "read_lineage",
    "record",
    "roll_back",
    "split_version",
    "version_uri",
]

LINEAGE_FILE = "lineage.json"
# Of a version: the `sources` artifact of its run.
SOURCES_FOLDER = "sources"
_POINTER = "champion.json"


@dataclasses.dataclass(frozen=True)
class ImportFacts:
    """What the splits of an import follow from, beside the images known before.

    Attributes:
        dataset_uri: Of the source.
        dataset_version: Of its files, see `data_import/source_version.py`.
        seed: Of the splits that are made.
        code: Digest of the code.
    """

    dataset_uri: str
    dataset_version: str
    seed: int
    code: str = dataclasses.field(default_factory=code_digest)


@dataclasses.dataclass(frozen=True)
class Lineage:
    """`lineage.json` of a version: where it comes from.

    Attributes:
        version: Its name.
        created_at: UTC, ISO 8601.
        kfp_vision_version: That made it.
        output_uri: Of the run.
        imported: How its images were imported.
        split_version: The version whose images kept their split then; empty without one.
        dataset: `uri`, `fingerprint`, `splits` and `classes`, as in `report.json`.
        primary: The metric that decides.
        metrics: Metric -> `{"value", "ci95"}` on the test split of its run.
        comparison: `champion` of `report.json`.
        files: Path -> size and SHA-256 of all others.
    """

    version: str
    created_at: str
    kfp_vision_version: str
    output_uri: str
    imported: ImportFacts
    split_version: str
    dataset: dict[str, Any]
    primary: str
    metrics: dict[str, Any]
    comparison: dict[str, Any]
    files: dict[str, FileRecord]


def version_uri(uri: str, version: str) -> str:
    """Returns where a version lies."""
    return f"{uri.rstrip('/')}/versions/{version}"


def read_champions(uri: str) -> Champions:
    """Returns champion and history of a folder; none where there is no `champion.json`.

    Raises:
        ValueError: The file is not one of kfp-vision.
        StorageError: The folder cannot be reached.
    """
    return parse_champions(read_document(_pointer(uri)), uri)


def check_writable(uri: str) -> None:
    """Reads `champion.json` as whoever changes it does: on a disk the folder is made, and locked.

    Raises:
        ValueError: The file is not one of kfp-vision.
        StorageError: The folder cannot be reached, or not be written on a disk.
    """
    _edit(uri, lambda _: None)


def read_lineage(uri: str, version: str) -> Lineage:
    """Returns where a version comes from.

    Raises:
        ValueError: There is no such version.
        StorageError: It cannot be reached.
    """
    place = version_uri(uri, version)
    plain = bool(version) and "/" not in version
    content = read_document(f"{place}/{LINEAGE_FILE}") if plain else None
    if content is None:
        raise ValueError(
            f"A version must be one of {uri!r}. Received: {version!r}, without {LINEAGE_FILE}. "
            f"`kfp-vision champions {uri}` lists them."
        )
    try:
        document = json.loads(content)
        files = {path: FileRecord(**each) for path, each in document.pop("files").items()}
        imported = ImportFacts(**document.pop("imported"))
        return Lineage(**document, imported=imported, files=files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{LINEAGE_FILE} must be written by kfp-vision. Received: that of {place!r} ({error}). "
            "Publish the version again, or promote another one."
        ) from error


def fetch_version(uri: str, version: str, names: Sequence[str], target: Path) -> Lineage:
    """Copies those files of a version that it has, below `target`; each is as it was published.

    Raises:
        ValueError: There is no such version.
        StorageError: A file is gone or damaged.
    """
    lineage = read_lineage(uri, version)
    for name in names:
        if name not in lineage.files:
            continue
        source = f"{version_uri(uri, version)}/{name}"
        download(source, target / name)
        if digest_of_file(target / name) != lineage.files[name]:
            raise StorageError(
                f"A file of a version must be as it was published. Received: {source!r} with "
                "another checksum. Promote another version, or publish this one again."
            )
    return lineage


def split_version(uri: str, champion: str, imported: ImportFacts) -> str:
    """Returns the version whose images keep their split in an import: the champion.

    An import that repeats that of the champion is given what that was given: it is the same one,
    and comes from the cache.

    Raises:
        ValueError: There is no such version.
        StorageError: It cannot be reached.
    """
    lineage = read_lineage(uri, champion)
    return lineage.split_version if lineage.imported == imported else champion


def fetch_known_images(uri: str, version: str) -> KnownImages:
    """Returns which images a version has known.

    Raises:
        ValueError: There is no such version, or it does not say.
        StorageError: The file is gone or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        fetch_version(uri, version, [IMAGES_FILE], Path(scratch))
        return read_known_images(Path(scratch, IMAGES_FILE))


def add_version(uri: str, files: Mapping[str, Path], lineage: Lineage) -> None:
    """Publishes a version; the same one again changes nothing.

    Args:
        uri: The folder.
        files: Path below the version -> local file.
        lineage: Its `files` are added here.

    Raises:
        StorageError: The folder cannot be written.
    """
    single = dict(pair for name, source in files.items() for pair in files_below(name, source))
    records = {name: digest_of_file(path) for name, path in sorted(single.items())}
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        path = Path(scratch, LINEAGE_FILE)
        write_json(dataclasses.replace(lineage, files=records), path)
        # Last: on a disk files are copied one after the other, and without it there is no version.
        publish({**single, LINEAGE_FILE: path}, version_uri(uri, lineage.version))


def record(uri: str, version: str, is_better: bool, compared_with: str, reason: str) -> Entry:
    """Makes a version of a run the champion, or keeps it as a challenger; once.

    A version that was compared with another champion than that of this moment is a challenger, and
    `overtaken` where the comparison with the present one may end otherwise: it has won, or the one
    that it lost against was rolled back since.

    Args:
        uri: The folder.
        version: Its name.
        is_better: Whether the comparison says that it replaces `compared_with`.
        compared_with: The champion at that time; empty without one.
        reason: One sentence.

    Returns:
        What was decided; by an earlier attempt, if there was one.

    Raises:
        StorageError: The folder cannot be written.
    """

    def decide(champions: Champions) -> Entry | None:
        if champions.last_entry(version):
            return None
        kind: Kind = "promoted" if is_better else "kept"
        because = reason
        is_valid = not compared_with or champions.holds(compared_with)
        if champions.champion != compared_with and (is_better or not is_valid):
            kind = "overtaken"
            because = (
                f"It was compared with {compared_with or 'no champion'}, but meanwhile "
                f"{champions.champion or 'none'} has become the champion. The next run compares "
                f"with that. {reason}"
            )
        return Entry(_now(), kind, version, because)

    entry = _edit(uri, decide).last_entry(version)
    assert entry is not None
    return entry


def promote(uri: str, version: str, reason: str) -> Champions:
    """Makes a version the champion, whatever a comparison says.

    Raises:
        ValueError: There is no such version, or it is the champion.
        StorageError: The folder cannot be reached or written.
    """
    read_lineage(uri, version)
    return _edit_once(uri, lambda _: Entry(_now(), "promoted", version, reason))


def roll_back(uri: str, reason: str) -> Champions:
    """Makes the champion before the champion again.

    Raises:
        ValueError: There is none, or another version has become the champion at this moment.
        StorageError: The folder cannot be reached or written.
    """
    seen = read_champions(uri)

    def make(held: Champions) -> Entry:
        if held.champion != seen.champion:
            raise ValueError(
                "A rollback must be of the champion that was seen. Received: "
                f"{held.champion!r}, which has become the champion meanwhile, not "
                f"{seen.champion!r}. Look at it, then try again."
            )
        return Entry(_now(), "rolled_back", held.champion, reason)

    if seen.previous:
        read_lineage(uri, seen.previous)
    return _edit_once(uri, make)


def _edit_once(uri: str, make: Callable[[Champions], Entry]) -> Champions:
    """Adds one entry, also where the answer of the store is lost and the edit is repeated."""
    added: list[Entry] = []

    def decide(champions: Champions) -> Entry | None:
        if added and added[-1] in champions.history:
            return None
        added.append(make(champions))
        return added[-1]

    return _edit(uri, decide)


def _edit(uri: str, decide: Callable[[Champions], Entry | None]) -> Champions:
    """Adds what `decide` returns to the history; returns the champions as they are then."""
    result = Champions()

    def change(content: bytes | None) -> bytes | None:
        nonlocal result
        result = parse_champions(content, uri)
        entry = decide(result)
        if entry is None:
            return None
        result = result.with_entry(entry)
        return result.to_json()

    edit_document(_pointer(uri), change)
    return result


def _pointer(uri: str) -> str:
    return f"{uri.rstrip('/')}/{_POINTER}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
