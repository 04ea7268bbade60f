"""The longest time that the log of each task says nothing, while `kfp-vision run` goes.

python tests/benchmarks/bench_log_silence.py [NAME ...] [--OPTION-OF-RUN ...]

The sets are those of `bench_real_sets.py`. A log is looked at five times a second: a silence begins
with its last new line, or with the task, and ends with the next line or the task's end.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_real_sets import unpack

_LOOK_S = 0.2
_SETS = ("ants-bees", "cifar10-10k")


class Silences:
    """The longest silence of each log, and the lines around it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._last: dict[str, tuple[float, str]] = {}
        self._read: dict[str, int] = {}
        self.longest: dict[str, tuple[float, str, str]] = {}

    def look(self) -> None:
        """Reads what is new in every log."""
        now = time.monotonic()
        for path in set(self._logs.glob("*.log")) - {self._logs / "pipeline.log"}:
            text = path.read_bytes()
            since, before = self._last.setdefault(path.stem, (now, ""))
            new = text[self._read.get(path.stem, 0) :].decode(errors="replace").splitlines()
            if new:
                silence = (now - since, before[:100], new[0][:100])
                self.longest[path.stem] = max(silence, self.longest.get(path.stem, silence))
                self._last[path.stem], self._read[path.stem] = (now, new[-1]), len(text)


def longest_silences(dataset: Path, output: Path, options: list[str]) -> dict[str, float]:
    """Runs the pipeline and returns the seconds of the longest silence of each task."""
    command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", dataset]
    silences = Silences(output / "logs")
    with subprocess.Popen([*map(str, command), "--output", str(output), *options]) as run:
        while run.poll() is None:
            silences.look()
            time.sleep(_LOOK_S)
        silences.look()
    for task, (seconds, before, after) in silences.longest.items():
        print(f"{task}: {seconds:.1f} s between\n  {before}\n  {after}")
    return {task: round(each[0], 1) for task, each in silences.longest.items()}


def main() -> None:
    """Prints for each set and task the seconds, and the lines before and after."""
    names = [each for each in sys.argv[1:] if each in _SETS]
    options = [each for each in sys.argv[1:] if each not in _SETS]
    result = {}
    for name in names or _SETS:
        with tempfile.TemporaryDirectory() as scratch:
            dataset = unpack(name, Path(scratch))
            result[name] = longest_silences(dataset, Path(scratch) / "out", options)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
