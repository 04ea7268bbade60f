"""Trains, evaluates and exports image classifiers: `run = kfp_vision.train("photos/")`.

The functions are imported when they are first used, so that the import of the package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp_vision.pipelines.api import Model, Run, RunFailedError, inspect, load, train

__all__ = ["Model", "Run", "RunFailedError", "inspect", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("kfp_vision.pipelines.api"), name)


def __dir__() -> list[str]:
    return __all__
