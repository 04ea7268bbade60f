"""Which code this is: a version number stays when a line changes."""

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

__all__ = ["code_digest", "image_tag"]

_PACKAGE = Path(__file__).parents[3]
_CODE = ("*.py", "*.html", "*.css", "*.js")
_SHORT = 16


@functools.cache
def code_digest() -> str:
    """Returns a digest of the code of this package."""
    digest = hashlib.sha256()
    for part in ("components", "pipelines"):
        found = [path for pattern in _CODE for path in (_PACKAGE / part).rglob(pattern)]
        for path in sorted(found):
            content = path.read_bytes()
            name = path.relative_to(_PACKAGE).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:_SHORT]


def image_tag(release: str = version("kfp-vision")) -> str:
    """Returns the tag of the images of this code: the version, of a development version and digest.

    The cache of a cluster takes tasks of one tag for the same: a tag must not name two codes.
    """
    return f"{release}-{code_digest()}" if ".dev" in release else release
