"""The tensors of a PyTorch weights file, read without PyTorch and without the code in the file.

Of all globals that a pickle can name, the parser knows those of a plain weights file and refuses
the rest. The file is in the format before PyTorch 1.6: pickles of a magic number, the version, the
system, the tensors by name (views into storages) and the storage keys, then the raw storages.
"""

import collections
import dataclasses
import math
import pickle  # noqa: TID251 - its Unpickler is the parser; every class but those below is refused.
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["read_torch_weights"]

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# What a pickle of anything else makes of the parser and of the code that reads its result.
_MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


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
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which was not run")

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
    with path.open("rb") as file:
        try:
            return _read_tensors(file)
        except _MALFORMED as error:
            raise ValueError(
                "A PyTorch weights file must hold tensors alone. "
                f"Received: {path}: {error}. Get the file from its publisher again."
            ) from error
