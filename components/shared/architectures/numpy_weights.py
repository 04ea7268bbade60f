"""The arrays of a pickled dict of lists of NumPy arrays, read without NumPy's own unpickling.

Such a pickle calls `_reconstruct(ndarray, (0,), b"b")` and sets the state of the result to
(version, shape, dtype, Fortran order, bytes); its dtypes are float32, little-endian.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.architectures.pickled_tensors import (
    TensorUnpickler,
    open_tensors,
)

__all__ = ["read_numpy_weights"]


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        if code != "f4":
            raise ValueError(f"an array is of {code}, not f4")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise ValueError(f"an array has the byte order {state[1]}, not <")


class _Array:
    """Stands for numpy.ndarray."""

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, _, fortran, content = state
        elements = np.frombuffer(content, "<f4")
        self.array = elements.reshape(shape, order="F" if fortran else "C")


_STAND_INS = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
}


def read_numpy_weights(path: Path) -> dict[str, np.ndarray]:
    """Returns `name.index` -> array, of the arrays in the list of each name.

    Raises:
        ValueError: The file is not such a pickle, or holds more than arrays.
    """
    with open_tensors(path) as file:
        lists = TensorUnpickler(file, _STAND_INS).load()
        return {
            f"{name}.{index}": held.array
            for name, arrays in lists.items()
            for index, held in enumerate(arrays)
        }
