"""A real dataset that trains in seconds, and runs of the command line on it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kfp_vision.pipelines.cli import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory) -> Path:
    """The 1797 digits of scikit-learn, 16 x 16 pixels, as class folders of PNG files."""
    root = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = root / f"digit {label}"
        folder.mkdir(exist_ok=True)
        # Twice as large as they are: a search has room to shift them.
        image = Image.fromarray((pixels * 255 / 16).astype("uint8"))
        image.resize((16, 16), Image.Resampling.NEAREST).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def command() -> list[str]:
    return [str(Path(sys.executable).with_name("kfp-vision"))]


@pytest.fixture(scope="session")
def kfp_vision(command) -> Run:
    """Runs a command of kfp-vision in a process of its own."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=1800
        )

    return run


@pytest.fixture
def kfp_vision_here(capfd, monkeypatch) -> Iterator[Run]:
    """Runs a command of kfp-vision in this process, which has imported the libraries already."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        words = ["kfp-vision", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(end.value.code or 0), said.out, said.err)

    yield run
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def run_arguments(digits_folder, small_model) -> tuple[object, ...]:
    """The arguments of `finished_run` but for its output: long enough for a few trials.

    The preset leaves the time for them on a busy machine too.
    """
    return (
        "--dataset-uri",
        digits_folder,
        "--architecture",
        small_model,
        "--epochs",
        44,
        "--preset",
        "best",
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, run_arguments, kfp_vision) -> Path:
    """The output folder of a whole run."""
    output = tmp_path_factory.mktemp("runs") / "out"
    answer = kfp_vision("run", *run_arguments, "--output", output)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return output
