"""A folder of one writer in a bucket: the last two of its states, of which the newest whole counts.

Below the folder's prefix, `objects/` holds contents under their checksums and `generations/` a
manifest for each state, written after its contents. What neither of the two needs is removed.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from kfp_vision.components.shared.runtime.progress import show_note
from kfp_vision.components.shared.runtime.storage.buckets import Bucket, StoredObject
from kfp_vision.components.shared.runtime.storage.errors import StorageError
from kfp_vision.components.shared.runtime.storage.file_trees import is_plain_key
from kfp_vision.components.shared.runtime.storage.manifests import (
    FileRecord,
    Manifest,
    digest_of_file,
    mismatch,
    parse_manifest,
)
from kfp_vision.components.shared.runtime.storage.reading import fetch, read_object

__all__ = ["Generations"]

_KEPT = 2
_MANIFEST, _CONTENT = re.compile(r"\d{8}\.json"), re.compile(r"[0-9a-f]{64}")


class Generations:
    """The states of one folder."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        """Asks for nothing yet.

        Args:
            bucket: Keeps the states.
            prefix: Of the folder; ends in `/`.
        """
        self._bucket, self._prefix = bucket, prefix
        self._number = 0
        # Number of a state that is in the bucket -> its files.
        self._kept: dict[int, dict[str, FileRecord]] = {}

    def restore(self, target: Path) -> None:
        """Writes the files of the newest state that is whole; says which ones are not.

        Raises:
            StorageError: No state is whole, although there are some.
        """
        failed = ""
        for number in sorted(self._numbers(), reverse=True):
            self._number = max(self._number, number)
            try:
                content = read_object(self._bucket, self._manifest_key(number))
                files = parse_manifest(content, self._manifest_key(number)).files
                self._fetch(files, target)
            except (FileNotFoundError, StorageError) as error:
                failed = f"{self._manifest_key(number)} ({str(error).splitlines()[0][:200]})"
                show_note(f"A checkpoint in the bucket is damaged and not used: {failed}")
            else:
                self._kept[number] = files
                return
        if failed:
            raise StorageError(
                f"One of the last {_KEPT} checkpoints must be whole. Received: {failed}. Remove "
                "the folder, or choose another `checkpoint_uri`, to start anew."
            )

    def save(self, files: Mapping[str, Path]) -> None:
        """Adds a state, unless it is that of the last; removes those before the one before.

        Contents that the bucket has lost since the last state are copied again.

        Args:
            files: Name -> a file that does not change any more.
        """
        records = {name: digest_of_file(path) for name, path in files.items()}
        stored = self._stored()
        for name, record in records.items():
            if record not in stored:
                self._bucket.upload(files[name], self._object_key(record))
                stored.add(record)
        if self._kept.get(self._number) == records:
            return
        self._number += 1
        content = Manifest(True, records).to_json()
        self._bucket.put(content, self._manifest_key(self._number))
        self._kept[self._number] = records
        self._remove_others(stored)

    def _numbers(self) -> list[int]:
        return [int(name[: -len(".json")]) for name, _ in self._named("generations/", _MANIFEST)]

    def _named(self, folder: str, names: re.Pattern[str]) -> Iterator[tuple[str, StoredObject]]:
        """Yields names and objects of a folder; not what another program has put there."""
        start = f"{self._prefix}{folder}"
        for found in self._bucket.objects(start):
            if names.fullmatch(name := found.key[len(start) :]):
                yield name, found

    def _manifest_key(self, number: int) -> str:
        return f"{self._prefix}generations/{number:08d}.json"

    def _object_key(self, record: FileRecord) -> str:
        return f"{self._prefix}objects/{record.sha256}"

    def _stored(self) -> set[FileRecord]:
        """Returns the contents that are in the bucket, by their names there."""
        return {FileRecord(found.size, name) for name, found in self._named("objects/", _CONTENT)}

    def _fetch(self, files: Mapping[str, FileRecord], target: Path) -> None:
        """Writes files; none of them appears before all have arrived."""
        target.mkdir(parents=True, exist_ok=True)
        arrived: dict[str, Path] = {}
        try:
            for name, record in files.items():
                if not is_plain_key(name):
                    raise StorageError(f"A checkpoint must name its files. Received: {name!r}")
                arrived[name] = target / f".{uuid.uuid4().hex}"
                fetch(self._bucket, self._object_key(record), arrived[name])
                if digest_of_file(arrived[name]) != record:
                    raise mismatch(self._object_key(record))
            for name, path in arrived.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(target / name)
        finally:
            for path in arrived.values():
                path.unlink(missing_ok=True)

    def _remove_others(self, stored: set[FileRecord]) -> None:
        while len(self._kept) > _KEPT:
            del self._kept[min(self._kept)]
        for number in set(self._numbers()) - self._kept.keys():
            self._bucket.delete(self._manifest_key(number))
        needed = {record.sha256 for files in self._kept.values() for record in files.values()}
        for record in stored:
            if record.sha256 not in needed:
                self._bucket.delete(self._object_key(record))
