"""The time of the stage until its student begins, whose checkpoints keep it from then on."""

import json
from pathlib import Path

from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.training.checkpoints import Stopwatch

__all__ = ["KeptSeconds"]


class KeptSeconds:
    """The seconds of a stage on disk: a process after a killed one goes on counting."""

    def __init__(self, watch: Stopwatch, path: Path) -> None:
        """Adds those of the processes before this one to the watch of the stage."""
        self._watch, self._path = watch, path
        if path.exists():
            watch.add(json.loads(path.read_text())["seconds"])

    def write(self) -> None:
        """Keeps what has been taken so far, where something begins or ends that is kept, too."""
        write_atomically(self._path, json_text({"seconds": self._watch.seconds}).encode())
