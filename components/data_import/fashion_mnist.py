"""Puts Fashion-MNIST, the data of the demo, in a folder: `python -m ... DIR` prints the folder.

Sources in order: the installed Debian package, the same package without root, the address that
TFDS downloads from. Reference: Xiao et al., 2017, arXiv:1708.07747 (MIT licence).
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

__all__ = ["provide_fashion_mnist"]

# File -> SHA-256 at the address of TFDS, from its table of checksums; Debian packs them anew.
_FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
_CLASSES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_PACKAGE = "dataset-fashion-mnist"
_FOLDER = "usr/share/datasets/fashion-mnist"  # Below the root, or where the package is unpacked.
_TIMEOUT_S = 120


def provide_fashion_mnist(target: Path) -> Path:
    """Returns `target` with the four IDX files and `classes.txt` in it.

    Raises:
        FileNotFoundError: No source works; the message says why, and what to do.
    """
    if all((target / name).is_file() for name in (*_FILES, "classes.txt")):
        return target
    sources: dict[str, Callable[[Path], Path]] = {
        "installed Debian package": lambda _: Path("/", _FOLDER),
        "apt-get download": _download_package,
        "download": _download_files,
    }
    reasons = []
    target.mkdir(parents=True, exist_ok=True)
    for source, find in sources.items():
        with tempfile.TemporaryDirectory(dir=target) as work_dir:
            try:
                found = find(Path(work_dir))
                for name in _FILES:
                    # Renamed when complete: a file that is there is taken to be whole.
                    shutil.copyfile(found / name, Path(work_dir, "copy"))
                    Path(work_dir, "copy").replace(target / name)
            except (OSError, subprocess.SubprocessError) as error:
                reasons.append(f"{source}: {error}")
            else:
                (target / "classes.txt").write_text("\n".join(_CLASSES), encoding="utf-8")
                return target
    raise FileNotFoundError(
        f"The demo needs Fashion-MNIST in {target}. Received: {'; '.join(reasons)}. Connect to the "
        f"network, or `apt-get install {_PACKAGE}`, or copy {', '.join(_FILES)} there."
    )


def _download_package(work_dir: Path) -> Path:
    """Downloads and unpacks the Debian package; needs no root."""
    for command in ("apt-get download " + _PACKAGE, "dpkg-deb -x ./*.deb ."):
        run = subprocess.run(
            ["sh", "-c", command],
            cwd=work_dir,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if run.returncode:
            raise OSError(f"`{command}` says {run.stderr.strip()!r}")
    return work_dir / _FOLDER


def _download_files(work_dir: Path) -> Path:
    """Downloads the original files and checks them: the address has no TLS."""
    for name, sha256 in _FILES.items():
        with urllib.request.urlopen(f"{_ADDRESS}/{name}", timeout=_TIMEOUT_S) as response:
            content = response.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise OSError(f"{name} must have the SHA-256 {sha256}. Received: other content")
        (work_dir / name).write_bytes(content)
    return work_dir


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Puts Fashion-MNIST in a folder.")
    parser.add_argument("directory", type=Path)
    try:
        print(provide_fashion_mnist(parser.parse_args().directory))
    except FileNotFoundError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
