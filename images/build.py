"""Builds the images of this code: `make images`, which README.md describes.

Usage: python images/build.py [--registry ghcr.io/team] [--push] [--target cpu] [--docker docker]
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from kfp_vision.components.shared.runtime.code_version import source_digest
from kfp_vision.components.shared.runtime.container_images import image_name

_ROOT = Path(__file__).parents[1]
_INDEX_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy")


def _labels() -> Iterator[str]:
    """Yields OCI annotations that are known at the time of the build only."""

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", _ROOT, *arguments], capture_output=True, text=True)
        return answer.stdout.strip()

    values = {
        "org.opencontainers.image.version": version("kfp-vision"),
        "org.opencontainers.image.revision": git("rev-parse", "HEAD"),
        # Of the commit: the same code makes the same image.
        "org.opencontainers.image.created": git("log", "-1", "--format=%cI"),
        "kfp-vision.source-digest": source_digest(),
    }
    for name, value in values.items():
        yield f"--label={name}={value}"


def _secrets(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Yields what pip of this machine is told by its environment, as secrets of the build.

    Args:
        environment: Variables of pip.
        folder: For a file with the settings of the index; nobody else may read it.
    """
    names = {name: f"PIP_{name.upper().replace('-', '_')}" for name in _INDEX_SETTINGS}
    given = {
        name: environment[variable] for name, variable in names.items() if variable in environment
    }
    settings = environment.get("PIP_CONFIG_FILE", "")
    if given:
        path = folder / "pip.conf"
        path.touch(mode=0o600)
        path.write_text("\n".join(["[global]", *(f"{key} = {given[key]}" for key in given)]))
        settings = str(path)
    for name, file in (("pip.conf", settings), ("ca-bundle", environment.get("PIP_CERT", ""))):
        if file:
            yield f"--secret=id={name},src={file}"


def main() -> None:
    """Builds, and pushes if asked to; prints the names of the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", default="", help="host and path before the name")
    parser.add_argument("--push", action="store_true", help="push to the registry")
    parser.add_argument("--target", choices=["cpu", "gpu"], action="append", required=True)
    parser.add_argument("--base", default="python:3.11-slim", help="image with Python and pip")
    parser.add_argument("--docker", default="docker", help="client")
    options = parser.parse_args()
    if options.push and not options.registry:
        parser.error("`--push` needs a registry of yours. Received: none. Set `--registry`.")
    for target in options.target:
        name = image_name(target, options.registry)
        with tempfile.TemporaryDirectory() as folder:
            command = [options.docker, "build", "--file", "images/Dockerfile", "--target", target]
            command += ["--build-arg", f"BASE={options.base}", "--tag", name, *_labels()]
            command += [*_secrets(os.environ, Path(folder)), "."]
            subprocess.run(
                command, check=True, cwd=_ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1"}
            )
        if options.push:
            subprocess.run([options.docker, "push", name], check=True)
        print(name)


if __name__ == "__main__":
    main()
