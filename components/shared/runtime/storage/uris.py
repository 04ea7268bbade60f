"""URIs: which are on this machine, which in a bucket.

A URI stays text until a function here resolves it: `Path` makes a folder `s3:` of a bucket.
"""

import re
from pathlib import Path

from kfp_vision.components.shared.runtime.storage.file_trees import is_plain_key

__all__ = ["bucket_and_key", "is_remote", "local_path", "scheme_of"]

# A slash less, `s3:/bucket`, is a bucket too, not a folder of that name.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
# `minio` is how the backend of KFP writes the URIs of its own object store, which speaks S3.
_SCHEMES = ("file", "gs", "minio", "s3")


def scheme_of(uri: str) -> str:
    """Returns `file`, `gs`, `minio` or `s3`.

    Raises:
        ValueError: The scheme is not supported.
    """
    match = _SCHEME.match(uri)
    scheme = match[1] if match else "file"
    if not uri.strip() or scheme not in _SCHEMES or (match and not uri.startswith(f"{scheme}://")):
        raise ValueError(
            f"A URI must be a local path or start with {[f'{s}://' for s in _SCHEMES]}. "
            f"Received: {uri!r}"
        )
    return scheme


def is_remote(uri: str) -> bool:
    """Returns whether a URI leads to a bucket.

    Raises:
        ValueError: The scheme is not supported.
    """
    return scheme_of(uri) != "file"


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Returns the bucket of a remote URI, and the key or prefix in it without a slash at the end.

    Raises:
        ValueError: The URI names no bucket, or its path has an empty part, `.` or `..`: clients
            differ in what they make of these.
    """
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    if not bucket:
        raise ValueError(f"A URI of a bucket must name it. Received: {uri!r}")
    key = key.rstrip("/")
    if key and not is_plain_key(key):
        raise ValueError(
            "The path of a URI in a bucket must have no empty part, `.` or `..`. Received: "
            f"{uri!r}. Write it without `//` behind the bucket."
        )
    return bucket, key


def local_path(uri: str, name: str) -> Path:
    """Returns the absolute path of a local path or a `file://` URI.

    Args:
        uri: What the user wrote.
        name: Of the parameter, for the message.

    Raises:
        ValueError: It is a bucket, or the scheme is not supported.
    """
    if is_remote(uri):
        raise ValueError(
            f"`{name}` must be on this machine: a local path or file://. Received: {uri!r}, a "
            "bucket. Give a path on a disk or on a mounted volume."
        )
    return Path(uri.removeprefix("file://")).absolute()
