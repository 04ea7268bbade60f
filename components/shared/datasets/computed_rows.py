"""What is computed of each image of a long list, kept on disk in parts: a killed task goes on."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder

__all__ = ["compute_rows"]

# Of a file: what a killed task computes again is at most this many.
_ROWS_PER_FILE = 4096


def compute_rows(
    compute: Callable[[np.ndarray], np.ndarray], num_rows: int, folder: Path, title: str
) -> np.ndarray:
    """Returns the results of all rows, one after the other, [N, ...].

    Args:
        compute: Rows int [B] -> their results [B, ...], of one shape and type.
        num_rows: N, at least 1.
        folder: Belongs to this result alone; outlives a killed task.
        title: Of the progress.
    """
    kept_folder(folder).mkdir(parents=True, exist_ok=True)
    parts = []
    with Progress(title, num_rows, "images") as progress:
        for start in range(0, num_rows, _ROWS_PER_FILE):
            stop = min(start + _ROWS_PER_FILE, num_rows)
            path = folder / f"{start}.npy"
            if not path.exists():
                content = io.BytesIO()
                np.save(content, compute(np.arange(start, stop)))
                write_atomically(path, content.getvalue())
            parts.append(np.load(path, allow_pickle=False))
            progress.update(stop)
    return np.concatenate(parts)
