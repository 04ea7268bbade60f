"""Files that several processes change: none of them loses what another has written meanwhile.

In a bucket by conditional writes, of the object that was read; on a disk under a lock.
"""

import fcntl
import random
import time
from collections.abc import Callable
from pathlib import Path

from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.storage.buckets import Bucket, open_bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError, explained
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key, local_path, scheme_of

__all__ = ["edit_document", "read_document"]

# Content -> what is to stand in its place; None: it stays. The content is None without a file.
Change = Callable[[bytes | None], bytes | None]

# A writer is first after a few: each try of one is a success of another.
_TRIES, _LONGEST_PAUSE_S = 50, 0.5


def read_document(uri: str) -> bytes | None:
    """Returns the content of a file, or None where there is none.

    Raises:
        StorageError: It cannot be reached.
    """
    scheme = scheme_of(uri)
    with explained(uri, scheme):
        try:
            if scheme == "file":
                return local_path(uri, "uri").read_bytes()
            name, key = bucket_and_key(uri)
            return bytes(open_bucket(scheme, name).reader.get(key).bytes())
        except FileNotFoundError:
            return None


def edit_document(uri: str, change: Change) -> None:
    """Replaces the content of a file by what `change` makes of it.

    Args:
        uri: A local path, file://, gs://, s3:// or minio://.
        change: Called again with the new content when another process was faster, or when the
            answer of the store was lost: what it adds may be there already.

    Raises:
        StorageError: It cannot be written, or the store knows no conditional writes.
    """
    scheme = scheme_of(uri)
    with explained(uri, scheme):
        if scheme == "file":
            _edit_local(local_path(uri, "uri"), change)
            return
        name, key = bucket_and_key(uri)
        for _ in range(_TRIES):
            if _edit_object(open_bucket(scheme, name), key, change):
                return
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - no secret.
    raise StorageError(
        f"A file that processes share must be theirs alone for a moment. Received: {uri!r}, which "
        f"others have changed {_TRIES} times meanwhile. Try again."
    )


def _edit_local(path: Path, change: Change) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        # Ends with the process, killed or not.
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = change(path.read_bytes() if path.exists() else None)
        if content is not None:
            write_atomically(path, content)


def _edit_object(bucket: Bucket, key: str, change: Change) -> bool:
    """Returns whether the object is as `change` wants it; not, when another one was faster."""
    before, known = None, None
    try:
        answer = bucket.reader.get(key)
        before, known = bytes(answer.bytes()), answer.meta
    except FileNotFoundError:
        pass
    content = change(before)
    return content is None or bucket.put_over(content, key, known)
