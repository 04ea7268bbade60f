"""Errors of a full disk that name the folder and the space that is left."""

import contextlib
import errno
import functools
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from kfp_vision.components.shared.runtime.storage.errors import StorageError

__all__ = ["explain_full_disk", "explains_full_disk", "is_disk_full"]

_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_RULE = "The disk must have room for what a run writes."
_MIB = 2**20

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def is_disk_full(error: BaseException | None) -> bool:
    """Returns whether a full disk is what an error, or what it came from, is about.

    HDF5 and TensorFlow say it in their text only; so does a bucket whose own disk is full.
    """
    if error is None or isinstance(error, StorageError):
        return False
    texts = [os.strerror(number) for number in _ERRORS]
    return (
        getattr(error, "errno", None) in _ERRORS
        or any(text in str(error) for text in texts)
        or is_disk_full(error.__cause__ or error.__context__)
    )


@contextlib.contextmanager
def explain_full_disk(*folders: Path, rule: str = _RULE) -> Iterator[None]:
    """Names the folder whose disk is full, and the amounts.

    Args:
        folders: Where the body writes, beside the folder for temporary files.
        rule: What the disk must have room for, a sentence.

    Raises:
        OSError: The disk of one of them is full.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        # One of them is full: that with the least space left.
        places = [_existing(folder) for folder in (*folders, Path(tempfile.gettempdir()))]
        folder = min(places, key=lambda place: shutil.disk_usage(place).free)
        usage = shutil.disk_usage(folder)
        raise OSError(
            errno.ENOSPC,
            f"{rule} Received: {usage.free / _MIB:.1f} of {usage.total / _MIB:.1f} MiB left. Free "
            "space, or choose another disk with `--output` (with TMPDIR for temporary files)",
            str(folder),
        ) from error


def explains_full_disk(
    *parameters: str,
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Wraps a verb in `explain_full_disk`.

    Args:
        parameters: Names of the verb's parameters that hold the folders it writes to.
    """

    def decorate(verb: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def explained(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
            given = signature.bind(*args, **kwargs).arguments
            with explain_full_disk(*(given[name] for name in parameters)):
                return verb(*args, **kwargs)

        return explained

    return decorate


def _existing(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
