"""Weights files converted once: a copy in safetensors that says what it was made of, and checks.

A copy is used if its metadata name the source and this version of the conversion, and if its
tensors have the digest that was written with them. Every other copy is made anew.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kfp_vision.components.shared.runtime.atomic_files import write_atomically

__all__ = ["check_digest", "default_folder", "load_converted"]

# Raised whenever a parser gives other arrays for the same file.
_CONVERSION = "1"


def default_folder() -> Path | None:
    """Returns the user's cache folder; None for a user who has no home."""
    try:
        return Path.home() / ".cache" / "kfp-vision"
    except RuntimeError:
        return None


def check_digest(source: Path, sha256: str) -> None:
    """Refuses a file of other content.

    Raises:
        ValueError: The file has another digest.
        OSError: The file cannot be read.
    """
    with source.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != sha256:
        raise ValueError(f"SHA-256 digest {received} instead of {sha256} in {source}")


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape} ".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _read_copy(copy: Path, sha256: str) -> dict[str, np.ndarray] | None:
    """Returns the tensors of a sound copy; None if it is missing, damaged or of another source."""
    try:
        with safe_open(copy, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    written = {"conversion": _CONVERSION, "source": sha256, "tensors": _digest(tensors)}
    return tensors if metadata == written else None


def _write_copy(copy: Path, sha256: str, tensors: dict[str, np.ndarray]) -> None:
    metadata = {"conversion": _CONVERSION, "source": sha256, "tensors": _digest(tensors)}
    write_atomically(copy, save(tensors, metadata))


@functools.cache
def _say_uncached(reason: str) -> None:
    """Says once in a process why weights are converted at each start."""
    print(f"Pretrained weights are converted at each start, because {reason}.")


def load_converted(
    source: Path,
    sha256: str,
    parse: Callable[[Path], dict[str, np.ndarray]],
    folder: Path | None,
) -> dict[str, np.ndarray]:
    """Returns what `parse` does; the file itself is parsed at the first call only.

    Args:
        source: The file as it was published.
        sha256: Its digest.
        parse: `source` -> (name -> array).
        folder: Keeps the copy in safetensors, named like the source; None keeps none.

    Raises:
        ValueError: The file has another digest, is not in the format of `parse`, or holds
            more than tensors.
        OSError: The file cannot be read.
    """
    check_digest(source, sha256)
    if folder is None:
        _say_uncached("the user has no home folder")
        return parse(source)
    copy = folder / f"{source.stem}.safetensors"
    tensors = _read_copy(copy, sha256)
    if tensors is None:
        tensors = parse(source)
        try:
            _write_copy(copy, sha256, tensors)
        except OSError as error:
            _say_uncached(f"{folder} cannot be written ({error.strerror})")
    return tensors
