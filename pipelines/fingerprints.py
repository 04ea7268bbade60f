"""What KFP's cache key does not see: the files behind a URI, and the code that a task calls."""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from kfp_vision.components.shared.storage import listing_digest

__all__ = ["code_version", "source_version"]

_PACKAGE = Path(__file__).parent.parent
_CODE = ("*.py", "*.html", "*.css", "*.js")


def source_version(uris: Iterable[str]) -> str:
    """Returns a digest of names, sizes and times of all files behind the URIs; reads no content."""
    digests = []
    for uri in uris:
        # The name of a TFDS set or of an architecture has no files; import says what is missing.
        with contextlib.suppress(ValueError, OSError):
            digests.append(listing_digest(uri))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def code_version() -> str:
    """Returns a digest of this package: results of other code are never taken from the cache."""
    digest = hashlib.sha256()
    for part in ("components", "pipelines"):
        found = [path for pattern in _CODE for path in (_PACKAGE / part).rglob(pattern)]
        for path in sorted(found):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
