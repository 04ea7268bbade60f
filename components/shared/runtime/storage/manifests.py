"""The list of an artifact's files, written last: what it does not name or confirm is not read."""

import dataclasses
import hashlib
import json
from pathlib import Path

from obstore.exceptions import PermissionDeniedError

from kfp_vision.components.shared.runtime.storage.buckets import Bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError
from kfp_vision.components.shared.runtime.storage.reading import read_object

__all__ = [
    "INCOMING",
    "MANIFEST_FILE",
    "FileRecord",
    "Manifest",
    "digest_of_file",
    "find_manifest",
    "mismatch",
    "parse_manifest",
    "read_manifest",
]

MANIFEST_FILE = ".manifest.json"
# Starts the names of folders of files that are not published yet.
INCOMING = ".incoming-"


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """A file of an artifact.

    Attributes:
        size: Bytes.
        sha256: Of the content, hex.
    """

    size: int
    sha256: str

    def check(self, content: bytes, uri: str) -> None:
        """Refuses other content than that of the file.

        Raises:
            StorageError: The content is damaged, or that of another publication.
        """
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise mismatch(uri)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """`.manifest.json` of a published artifact.

    Attributes:
        complete: False while files are moved to their names.
        files: Relative path -> the file; while it is not complete, those of the publication before
            too.
        versions: Relative path -> ETag that the store gave the file, where it gave one.
    """

    complete: bool
    files: dict[str, FileRecord]
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> bytes:
        """Returns the content of the file."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True).encode()

    def below(self, prefix: str) -> "Manifest | None":
        """Returns the manifest of a folder of the artifact, or None if it names no file there.

        Args:
            prefix: Of the folder, below the artifact's root; ends in `/`.
        """
        files = {
            path.removeprefix(prefix): record
            for path, record in self.files.items()
            if path.startswith(prefix)
        }
        return Manifest(self.complete, files) if files else None

    def require_complete(self, uri: str) -> None:
        """Refuses an artifact whose files are those of two publications.

        Raises:
            StorageError: A publication is going on, or was interrupted.
        """
        if not self.complete:
            raise StorageError(
                f"An artifact must be published whole. Received: {uri!r}, which is being replaced. "
                "Try again in a minute; after an interruption, run again what has published it."
            )


def find_manifest(bucket: Bucket, key: str) -> Manifest | None:
    """Returns what the manifest of the artifact that a folder belongs to says of the folder.

    It is the nearest one of the folder and those above it: at most one request for each.

    Args:
        bucket: Where the folder is.
        key: Of the folder, without a slash at the end; empty for the bucket's root.

    Raises:
        StorageError: What is there is no manifest.
    """
    manifest = read_manifest(bucket, f"{key}/" if key else "")
    above = key
    while manifest is None and above:
        above = above.rpartition("/")[0]
        prefix = f"{above}/" if above else ""
        try:
            whole = read_manifest(bucket, prefix)
        except PermissionDeniedError:
            # The keys may be for this folder alone.
            return None
        if whole is not None:
            return whole.below(f"{key.removeprefix(prefix)}/")
    return manifest


def read_manifest(bucket: Bucket, prefix: str) -> Manifest | None:
    """Returns the manifest of the artifact at a prefix (ends in `/`, or is empty), if it has one.

    Raises:
        StorageError: What is there is no manifest.
    """
    try:
        content = read_object(bucket, prefix + MANIFEST_FILE)
    except FileNotFoundError:
        return None
    return parse_manifest(content, prefix + MANIFEST_FILE)


def parse_manifest(content: bytes, key: str) -> Manifest:
    """Returns the manifest that an object holds.

    Raises:
        StorageError: It is not one.
    """
    try:
        document = json.loads(content)
        files = {path: FileRecord(**record) for path, record in document["files"].items()}
        return Manifest(document["complete"], files, document.get("versions", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{key} must be the list of a published artifact. Received: {error}. "
            "Remove it, or publish again."
        ) from error


def mismatch(uri: str) -> StorageError:
    """Returns the error of content that is not what the manifest names."""
    return StorageError(
        f"A file must have the checksum of its artifact's manifest. Received: {uri!r} with another "
        "one. It was replaced a moment ago, or damaged: try again, then publish it again."
    )


def digest_of_file(path: Path) -> FileRecord:
    """Returns size and checksum of a local file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return FileRecord(path.stat().st_size, digest.hexdigest())
