"""Makes a virtual environment with pip in it, also where Python came without `ensurepip`.

Usage: python .ci/make_venv.py DIR. Debian ships Python without `ensurepip`; pip is then fetched
from the package index (PIP_INDEX_URL, or PyPI): its wheel can install itself.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import venv
from pathlib import Path
from urllib.parse import urljoin

_JSON = "application/vnd.pypi.simple.v1+json"


def main() -> None:
    """Makes the environment, or says what to install."""
    folder = Path(sys.argv[1])
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_ensurepip, clear=True, symlinks=True)
    if has_ensurepip:
        return
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    try:
        request = urllib.request.Request(index, headers={"Accept": _JSON})
        with urllib.request.urlopen(request) as answer:
            files = json.load(answer)["files"]
        wheels = [file for file in files if file["filename"].endswith(".whl")]
        wheel = max(wheels, key=lambda file: file.get("upload-time", ""))
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, wheel["filename"])
            urllib.request.urlretrieve(urljoin(index, wheel["url"]), path)
            command = [f"{folder}/bin/python", f"{path}/pip", "install", "--quiet", str(path)]
            subprocess.run(command, check=True)
    except (urllib.error.URLError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(
            "Python must have `ensurepip` or reach a package index. "
            f"Received: neither ({index}: {error}). Install python3-venv, or set PIP_INDEX_URL."
        )


if __name__ == "__main__":
    main()
