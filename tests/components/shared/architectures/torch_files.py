"""Files as PyTorch writes them before 1.6, hostile ones too, without PyTorch."""

import collections
import os
import pickle  # noqa: TID251 - writes the hostile files that must not load.
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
_PythonPickler: Any = pickle._Pickler


class _Storage:
    """Pickles as PyTorch's persistent reference to a storage of four floats."""


class Tensor:
    """Pickles as PyTorch's call that rebuilds a view of the storage 0, 1, 2, 3."""

    def __init__(self, offset, shape, strides):
        self.view = (offset, shape, strides)

    def __reduce__(self):
        return _rebuild_tensor_v2, (_Storage(), *self.view, False, collections.OrderedDict())


class Command:
    """Pickles as a call of `os.system`, which every plain unpickler runs."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def _rebuild_tensor_v2(*_):
    raise NotImplementedError


class FloatStorage:
    """Stands for the class of PyTorch."""


_rebuild_tensor_v2.__module__ = "torch._utils"
FloatStorage.__module__ = "torch"


class _Pickler(_PythonPickler):
    def persistent_id(self, obj):
        return ("storage", FloatStorage, "0", "cpu", 4, None) if isinstance(obj, _Storage) else None

    def save_global(self, obj, name=None):
        self.write(f"c{obj.__module__}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch = {
        **_PythonPickler.dispatch,
        type: save_global,
        type(_rebuild_tensor_v2): save_global,
    }


def write_weights(path: Path, tensors: Any, magic: Any = MAGIC, length: int = 4) -> Path:
    """Writes a weights file with one storage of 0, 1, 2, 3 that says it has `length` elements."""
    with path.open("wb") as file:
        for value in (magic, 1001, {"little_endian": True}, tensors, ["0"]):
            _Pickler(file, 2).dump(value)
        np.array([length], "<u8").tofile(file)
        np.arange(4, dtype="<f4").tofile(file)
    return path
