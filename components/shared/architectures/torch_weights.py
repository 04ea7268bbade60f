"""The tensors of a PyTorch weights file, read without PyTorch and without the code in the file.

The file is in the format before PyTorch 1.6: pickles of a magic number, the version, the system,
the tensors by name (views into storages) and the storage keys, then the raw storages.
"""

import collections
import dataclasses
import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from kfp_vision.components.shared.architectures.pickled_tensors import (
    TensorUnpickler,
    open_tensors,
)

__all__ = ["read_torch_weights"]

_MAGIC = 0x1950A86A20F9469CFC6C


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view into a storage; offset, shape and strides count elements."""

    storage: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _describe(
    storage: tuple[str, np.dtype], offset: int, shape: Any, strides: Any, *_: Any
) -> _Tensor:
    return _Tensor(*storage, offset, tuple(shape), tuple(strides))


_STAND_INS = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch._utils._rebuild_tensor_v2": _describe,
    "collections.OrderedDict": collections.OrderedDict,
}


class _Unpickler(TensorUnpickler):
    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        _, dtype, key, *_ = pid
        return key, dtype


def _load(file: IO[bytes]) -> Any:
    return _Unpickler(file, _STAND_INS).load()


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """Returns the tensor as an array of its own.

    Raises:
        ValueError: The view reaches outside of its storage.
    """
    reach = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    inside = tensor.offset >= 0 and tensor.offset + reach < len(storage)
    if not inside or min(tensor.strides, default=0) < 0 or math.prod(tensor.shape) > len(storage):
        raise ValueError(f"a tensor lies outside its storage of {len(storage)}: {tensor}")
    byte_strides = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, byte_strides)
    return np.array(view, order="C")


def _read_tensors(file: IO[bytes]) -> dict[str, np.ndarray]:
    magic, _, _ = (_load(file) for _ in range(3))
    if magic != _MAGIC:
        raise ValueError(f"it starts with {magic}, not {_MAGIC:#x}")
    tensors, keys = _load(file), _load(file)
    dtypes = {tensor.storage: tensor.dtype for tensor in tensors.values()}
    elements, start, storages = file.read(), 0, {}
    for key in keys:
        length = int(np.frombuffer(elements, "<u8", 1, start)[0])
        storages[key] = np.frombuffer(elements, dtypes[key], length, start + 8)
        start += 8 + storages[key].nbytes
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Returns name -> array, in PyTorch's layout (convolutions [out, in, height, width]).

    Raises:
        ValueError: The file is not a weights file of this format, or holds more than tensors.
    """
    with open_tensors(path) as file:
        return _read_tensors(file)
