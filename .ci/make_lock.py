"""Prints requirements.lock: the exact versions of `.[dev,pretrained,tfds]`, resolved in one step."""

import json
import subprocess
import sys

_HEADER = """\
# Exact versions of `.[dev,pretrained,tfds]`, resolved in one step: aiobotocore, s3fs and moto agree
# on one botocore only together. `make lock` writes this file.
"""


def main() -> None:
    """Resolves against the package index, whatever is installed here."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", "-", ".[dev,pretrained,tfds]"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    packages = [entry["metadata"] for entry in json.loads(answer.stdout)["install"]]
    lines = {
        f"{package['name'].lower().replace('_', '-')}=={package['version']}"
        for package in packages
        if package["name"] != "kfp-vision"
    }
    print(_HEADER + "\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
