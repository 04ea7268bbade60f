"""One exception for all that a disk or a bucket refuses."""

import contextlib
import errno
import importlib
import re
from collections.abc import Iterator

__all__ = ["StorageError", "explained"]

_S3_HELP = (
    "Check the bucket's name, the network, AWS_ENDPOINT_URL, AWS_REGION, and the AWS credentials."
)
HELP = {
    "file": "Check the spelling and the permissions.",
    "gs": "Check the bucket's name, the network, and GOOGLE_APPLICATION_CREDENTIALS.",
    "minio": _S3_HELP,
    "s3": _S3_HELP,
}
# What the clients raise beside OSError, by module, so that only those in use are imported.
_READER = {"obstore.exceptions": ("BaseError",)}
_S3 = {
    **_READER,
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "boto3.exceptions": ("Boto3Error",),
}
_FAILURES: dict[str, dict[str, tuple[str, ...]]] = {
    "file": {},
    "gs": {
        **_READER,
        "google.api_core.exceptions": ("GoogleAPIError",),
        "google.auth.exceptions": ("GoogleAuthError",),
        "google.cloud.storage.exceptions": ("DataCorruption", "InvalidResponse"),
    },
    "minio": _S3,
    "s3": _S3,
}
# Of this machine: told by `runtime/disk.py`.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# Amazon's answer to a session token that has expired repeats the token.
_TOKEN = re.compile(r"<Token-\d+>.*?</Token-\d+>", re.DOTALL)


class StorageError(OSError):
    """A URI cannot be read or written."""


@contextlib.contextmanager
def explained(uri: str, scheme: str) -> Iterator[None]:
    """Turns what a client raises into a `StorageError` that names the URI and what to check.

    Raises:
        StorageError: The body failed; its cause is what the client raised.
    """
    kinds = tuple(
        getattr(importlib.import_module(module), name)
        for module, names in _FAILURES[scheme].items()
        for name in names
    )
    try:
        yield
    except (OSError, *kinds) as error:
        if isinstance(error, StorageError) or getattr(error, "errno", None) in _DISK_FULL:
            raise
        if _TOKEN.search(str(error)):
            # Tracebacks are logged, and this one would be printed as the cause.
            error.args = (_TOKEN.sub("", str(error)),)
        # After an empty line, obstore repeats the error in the notation of its language.
        reason = str(error).split("\n\n")[0].strip() or type(error).__name__
        raise StorageError(f"Cannot reach {uri!r}: {reason}. {HELP[scheme]}") from error
