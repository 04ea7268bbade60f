"""The process that runs the pipeline under `kfp.local`; `local.py` starts it and reads its output.

A process of its own, because KFP patches `print`, replaces the log handlers and writes a hundred
lines a task: here it may, and the launcher reads one stream of text.

Usage: python -m kfp_vision.pipelines.worker '{"arguments", "pipeline_root", "cache_root", ...}'
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from kfp import local

from kfp_vision.pipelines.cache import keep_metrics, remove_unused
from kfp_vision.pipelines.training import training_pipeline

__all__ = ["main"]


def _end_with(launcher: int) -> None:
    """Ends this process and its tasks when the launcher is gone, even by `kill -9`.

    Args:
        launcher: File descriptor of a pipe whose other end only the launcher holds.
    """
    os.read(launcher, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Runs the training pipeline as the JSON argument says; the exit code is 1 if a task fails."""
    settings = json.loads(sys.argv[1])
    threading.Thread(target=_end_with, args=(settings["launcher"],), daemon=True).start()
    pipeline_root, cache_root = Path(settings["pipeline_root"]), Path(settings["cache_root"])
    keep_metrics(cache_root)
    # KFP says on the root logger which tasks come from the cache.
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(pipeline_root),
        workspace_root=settings["workspace_root"],
        cache_root=str(cache_root),
        enable_caching=True,
        raise_on_error=True,
    )
    training_pipeline(**settings["arguments"])
    remove_unused(pipeline_root, cache_root)


if __name__ == "__main__":
    main()
