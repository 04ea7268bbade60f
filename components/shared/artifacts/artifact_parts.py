"""The files of a stage as several artifacts, and several artifacts as one folder to read.

A KFP launcher copies every input of a task whole: what few tasks read is an artifact of its own.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["join_parts", "move_files"]


class _Artifact(Protocol):
    @property
    def path(self) -> str:
        """The folder."""


def move_files(source: Path, artifact: _Artifact, *names: str) -> None:
    """Moves files into the folder of an artifact; it stays empty where there are none of them."""
    folder = Path(artifact.path)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).exists():
            shutil.move(source / name, folder)


@contextlib.contextmanager
def join_parts(*artifacts: _Artifact) -> Iterator[Path]:
    """Yields a folder of links to the files of the artifacts, no two of which have one name."""
    with tempfile.TemporaryDirectory(prefix="parts-") as joined:
        for artifact in artifacts:
            folder = Path(artifact.path).absolute()
            # A bucket keeps no empty folder.
            for file in folder.iterdir() if folder.is_dir() else ():
                Path(joined, file.name).symlink_to(file)
        yield Path(joined)
