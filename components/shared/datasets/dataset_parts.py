"""The artifacts of a dataset: what is known of it, and one for each split.

A KFP launcher copies every input of a task whole: a task names the splits that it reads, and sees
them as the one folder that the import has written.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from kfp_vision.components.shared.datasets.store import SplitWriter

__all__ = ["divide_dataset", "join_dataset"]


class _Artifact(Protocol):
    @property
    def path(self) -> str:
        """The folder."""


def divide_dataset(dataset_dir: Path, splits: Mapping[str, _Artifact]) -> None:
    """Moves the file of each split into the folder of its artifact; what else there is stays.

    Args:
        dataset_dir: What the import has written.
        splits: Split name -> its artifact. One that the dataset lacks gets a file without rows: a
            bucket keeps no empty folder.
    """
    for split, artifact in splits.items():
        folder, file = Path(artifact.path), dataset_dir / f"{split}.arrow"
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            shutil.move(file, folder)
        else:
            with SplitWriter(folder, split):
                pass


@contextlib.contextmanager
def join_dataset(*artifacts: _Artifact) -> Iterator[Path]:
    """Yields a folder of links to the files of artifacts of one dataset.

    Args:
        artifacts: `dataset_info`, and the splits that the task reads.
    """
    with tempfile.TemporaryDirectory(prefix="dataset-") as joined:
        for artifact in artifacts:
            for file in Path(artifact.path).absolute().iterdir():
                Path(joined, file.name).symlink_to(file)
        yield Path(joined)
