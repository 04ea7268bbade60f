"""Checks the architecture before the first stage, in a process of its own.

The launcher itself must not load TensorFlow, which would take its memory for the whole run.

Usage: python -m kfp_vision.pipelines.local.architecture_check ARCHITECTURE IMAGE_SIZE
"""

import json
import os
import subprocess
import sys

from kfp_vision.pipelines.local.processes import ENVIRONMENT

__all__ = ["check_architecture"]

_REFUSED = 3


def check_architecture(architecture: str, image_size: int) -> None:
    """Checks that the network can be built; `auto` always can.

    Raises:
        ValueError: It cannot be built.
    """
    if architecture == "auto":
        return
    child = subprocess.run(
        [sys.executable, "-m", __name__, architecture, str(image_size)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**ENVIRONMENT, **os.environ},
    )
    if child.returncode == _REFUSED:
        raise ValueError(json.loads(child.stdout.splitlines()[-1]))
    if child.returncode:
        raise ValueError(
            "The architecture must be one that can be built on this machine. Received: "
            f"{architecture!r}, of which building ended with code {child.returncode}:\n"
            f"{child.stderr[-1000:]}"
        )


def _main() -> None:
    from kfp_vision.components.shared.architectures import check

    try:
        check.check_architecture(sys.argv[1], int(sys.argv[2]))
    except (ValueError, OSError, ImportError) as error:
        print(json.dumps(str(error)))
        sys.exit(_REFUSED)


if __name__ == "__main__":
    _main()
