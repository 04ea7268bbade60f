"""The tensors of a PyTorch weights file, converted once to safetensors.

The conversion needs no PyTorch and runs no code from the file: of all globals that a pickle can
name, it knows those of a plain weights file and refuses the rest. The file is in the format before
PyTorch 1.6: pickles of a magic number, the version, the system, the tensors by name (views into
storages) and the storage keys, then the raw storages in that order.
"""

import collections
import dataclasses
import math
import pickle  # noqa: TID251 - its Unpickler is the parser; every class but those below is refused.
import uuid
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["load_converted", "read_torch_weights"]

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


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


class _WeightsUnpickler(pickle.Unpickler):
    """Builds descriptions of tensors; refuses every other class and function."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise ValueError(f"A weights file must hold tensors alone. Received: {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        _, dtype, key, *_ = pid
        return key, dtype


def _load(file: IO[bytes]) -> Any:
    return _WeightsUnpickler(file).load()


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
        raise ValueError(f"A tensor must lie in its storage of {len(storage)}. Received: {tensor}")
    byte_strides = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, byte_strides)
    return np.array(view, order="C")


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Returns name -> array, in PyTorch's layout (convolutions [out, in, height, width]).

    Raises:
        ValueError: The file is not a weights file of this format, or holds more than tensors.
    """
    with path.open("rb") as file:
        try:
            magic, _, _ = (_load(file) for _ in range(3))
            tensors, keys = _load(file), _load(file)
        except (pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"`path` must be a PyTorch weights file. Received: {path}") from error
        if magic != _MAGIC:
            raise ValueError(f"A weights file starts with {_MAGIC:#x}. Received: {magic} ({path})")
        dtypes = {tensor.storage: tensor.dtype for tensor in tensors.values()}
        storages = {}
        for key in keys:
            length = int(np.fromfile(file, "<i8", 1)[0])
            storages[key] = np.fromfile(file, dtypes[key], length)
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def load_converted(source: Path, folder: Path) -> dict[str, np.ndarray]:
    """Returns what `read_torch_weights` does; the file itself is parsed at the first call only.

    Args:
        source: The PyTorch file.
        folder: Keeps the copy in safetensors, named like the source.

    Raises:
        ValueError: The file is not a weights file of this format, or holds more than tensors.
    """
    # Part of the extra `pretrained`, as the only weights that are read here.
    from safetensors.numpy import load_file, save_file

    copy = folder / f"{source.stem}.safetensors"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # A stopped or simultaneous conversion leaves no half-written copy.
        partial = copy.with_name(f".{uuid.uuid4().hex}")
        save_file(read_torch_weights(source), partial)
        partial.replace(copy)
    return load_file(copy)
