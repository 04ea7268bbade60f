"""Artifacts in a bucket: a reader sees the one before or the new one, never a mixture.

Files are written below a temporary prefix. When all are there, a manifest says that the artifact is
being replaced; they are copied to their names within the bucket, and the manifest is written again.
A writer that ends before the copies leaves the artifact as it was.
"""

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kfp_vision.components.shared.runtime.atomic_files import whole_file
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage.buckets import Bucket, open_bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError, explained
from kfp_vision.components.shared.runtime.storage.manifests import (
    INCOMING,
    MANIFEST_FILE,
    FileRecord,
    Manifest,
    digest_of_file,
    read_manifest,
)
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key, local_path, scheme_of

__all__ = ["copy_local", "files_below", "publish"]

# Each may hold ten parts of a large file in memory.
_UPLOADS = 4
# What is older below a temporary prefix is that of a writer that was killed.
_LONGEST_PUBLICATION = timedelta(days=1)


def publish(files: Mapping[str, Path], uri: str) -> None:
    """Copies files to a folder, in place of those that were published there before.

    In a bucket, only what has changed is copied, and all of it at once; on a disk, file by file.

    Args:
        files: Path below `uri` -> local file, or folder with all that is below it.
        uri: A local path, file://, gs://, s3:// or minio://.

    Raises:
        StorageError: The bucket cannot be written.
    """
    scheme = scheme_of(uri)
    single = dict(pair for name, source in files.items() for pair in files_below(name, source))
    if scheme == "file":
        for name, source in single.items():
            copy_local(source, local_path(uri, "uri") / name)
        return
    name, key = bucket_and_key(uri)
    with explained(uri, scheme), Progress(f"upload to {uri}"):
        _publish(single, open_bucket(scheme, name), f"{key}/" if key else "")


def files_below(name: str, source: Path) -> Iterator[tuple[str, Path]]:
    """Yields a file and its name, or all files below a folder and theirs, by their paths."""
    if not source.is_dir():
        yield name, source
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            yield f"{name}/{path.relative_to(source).as_posix()}".lstrip("/"), path


def copy_local(source: Path, target: Path) -> None:
    """Copies a local file over another; who reads it sees either of them whole."""
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)


def _publish(files: Mapping[str, Path], bucket: Bucket, prefix: str) -> None:
    before = read_manifest(bucket, prefix)
    earlier = before.files if before else {}
    records = {name: digest_of_file(path) for name, path in files.items()}
    versions = dict(_unchanged(bucket, prefix, before, records))
    stale = earlier.keys() - records.keys()
    changed = [name for name in files if name not in versions]
    if before and before.complete and not changed and not stale:
        return

    def send(name: str) -> None:
        records[name] = _upload_settled(bucket, files[name], incoming + name)

    def settle(name: str) -> None:
        bucket.copy(incoming + name, prefix + name)
        if version := bucket.reader.head(prefix + name)["e_tag"]:
            versions[name] = version

    with _incoming(bucket, prefix) as incoming:
        _each(changed, send)
        _require_all(bucket, incoming, changed)
        # With the files of before: if this is interrupted, the next one knows what to remove.
        bucket.put(Manifest(False, earlier | records).to_json(), prefix + MANIFEST_FILE)
        _each(changed, settle)
        _each(stale, lambda name: bucket.delete(prefix + name))
        bucket.put(Manifest(True, records, versions).to_json(), prefix + MANIFEST_FILE)


def _upload_settled(bucket: Bucket, source: Path, key: str) -> FileRecord:
    """Writes an object; of a file that grows meanwhile, a log, what it was at one moment."""
    before, record = source.stat(), digest_of_file(source)
    bucket.upload(source, key)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        return record
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(source, Path(folder, "copy")))
        bucket.upload(copy, key)
        return digest_of_file(copy)


def _unchanged(
    bucket: Bucket, prefix: str, before: Manifest | None, records: Mapping[str, FileRecord]
) -> Iterator[tuple[str, str]]:
    """Yields the files that lie in the bucket as they were published, and their ETags."""
    if before is None or not before.complete:
        return
    for name, record in records.items():
        version = before.versions.get(name)
        if before.files.get(name) == record and version:
            with contextlib.suppress(FileNotFoundError):
                if bucket.reader.head(prefix + name)["e_tag"] == version:
                    yield name, version


@contextlib.contextmanager
def _incoming(bucket: Bucket, prefix: str) -> Iterator[str]:
    """Yields a temporary prefix; removes those that killed writers left, and at the end its own."""
    newest = datetime.now(UTC) - _LONGEST_PUBLICATION
    _remove(bucket, prefix + INCOMING, newest)
    own = f"{prefix}{INCOMING}{uuid.uuid4().hex}/"
    try:
        yield own
    finally:
        _remove(bucket, own)


def _remove(bucket: Bucket, prefix: str, newest: datetime | None = None) -> None:
    """Removes the objects below a prefix, or those of them that are not newer than `newest`."""
    found = bucket.objects(prefix)
    _each([each.key for each in found if not newest or each.modified <= newest], bucket.delete)


def _require_all(bucket: Bucket, incoming: str, names: Iterable[str]) -> None:
    """Refuses to replace an artifact by files of which some are gone."""
    missing = {incoming + name for name in names} - {each.key for each in bucket.objects(incoming)}
    if missing:
        raise StorageError(
            "Files below a temporary prefix must stay until they are published. Received: "
            f"{len(missing)} that were removed meanwhile, {min(missing)!r} first. What was "
            "published before is as it was: publish again, in less than a day."
        )


def _each(names: Iterable[str], function: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload") as pool:
        for _ in pool.map(function, names):
            pass
