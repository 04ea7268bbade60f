"""Pickles of tensors, parsed without unpickling: no class or function that they name is run.

A reader says which globals its format has and what to build instead of each; the rest is refused.
"""

import contextlib
import pickle  # noqa: TID251 - its Unpickler is the parser; every class but a reader's is refused.
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

__all__ = ["TensorUnpickler", "open_tensors"]

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


class TensorUnpickler(pickle.Unpickler):
    """Builds stand-ins for a few globals; refuses every other class and function."""

    def __init__(self, file: IO[bytes], stand_ins: Mapping[str, Any]) -> None:
        """Takes `module.name` of each global of the format -> what is built instead."""
        super().__init__(file)
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a global that the pickle names."""
        path = f"{module}.{name}"
        if path not in self._stand_ins:
            raise pickle.UnpicklingError(f"it asks for {path}, which was not run")
        return self._stand_ins[path]


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[IO[bytes]]:
    """Opens a weights file; what goes wrong while it is read refuses the file.

    Raises:
        ValueError: The file is malformed, or holds more than tensors.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            yield file
        except _MALFORMED as error:
            raise ValueError(
                "A weights file must hold tensors alone, in its format. "
                f"Received: {path}: {error}. Get the file from its publisher again."
            ) from error
