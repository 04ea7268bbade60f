"""The curves of a training for TensorBoard."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from kfp_vision.components.shared.training.history import CurveRow

__all__ = ["EventFiles"]


class EventFiles:
    """The curves as event files, which only grow: what replaces them makes new ones."""

    def __init__(self, folder: Path) -> None:
        """Opens the first one.

        Args:
            folder: Of the files.
        """
        self._folder = folder
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, rows: Sequence[CurveRow], anew: bool) -> None:
        """Adds rows; `anew` replaces all that were written."""
        if anew:
            self.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default():
            for row in rows:
                tf.summary.scalar(f"{row['split']}/{row['metric']}", row["value"], row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
