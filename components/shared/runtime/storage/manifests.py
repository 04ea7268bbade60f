"""The list of an artifact's files, written last: what it does not name or confirm is not read."""

import dataclasses
import hashlib
import json
from pathlib import Path

from kfp_vision.components.shared.runtime.storage.buckets import Bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError
from kfp_vision.components.shared.runtime.storage.reading import read_object

__all__ = [
    "INCOMING",
    "MANIFEST_FILE",
    "FileRecord",
    "Manifest",
    "digest_of_file",
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
        files: Relative path -> the file.
    """

    complete: bool
    files: dict[str, FileRecord]

    def to_json(self) -> bytes:
        """Returns the content of the file."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True).encode()

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
        return Manifest(document["complete"], files)
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
