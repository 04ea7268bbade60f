"""Text files of a source: their first lines, for a look, and all of their text."""

import codecs
import dataclasses
import functools
import gzip
import io
import zlib

from kfp_vision.components.data_import.readers.tables import TableError
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["TextFile"]

_HEAD_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A text file in UTF-8, or in UTF-16 as spreadsheets write it; `.gz` ones are unpacked."""

    folder: Folder
    name: str

    @functools.cached_property
    def head(self) -> str:
        """The whole lines of the first megabyte; what is not UTF-8 is replaced in it."""
        content = self._start
        if not self.is_short:
            # A bare carriage return ends a line too.
            content = content[: max(content.rfind(b"\n"), content.rfind(b"\r")) + 1] or content
        return content.decode(_encoding(content), "replace")

    @property
    def is_short(self) -> bool:
        """Whether `head` is all of the file."""
        return len(self._start) < _HEAD_BYTES

    def read(self) -> str:
        """Returns the text.

        Raises:
            TableError: It is not UTF-8.
        """
        content = self._start if self.is_short else self._read()
        try:
            return content.decode(_encoding(content))
        except UnicodeDecodeError as error:
            line = len(content[: error.start].splitlines()) or 1
            raise TableError(
                f"The file must be UTF-8 text. Received: {self.name}, line {line}: {error}. "
                "Save it as UTF-8; spreadsheets call it `CSV UTF-8`."
            ) from error

    @functools.cached_property
    def size(self) -> int:
        """Number of bytes in the file, as it is stored."""
        with self.folder.open(self.name) as file:
            return file.seek(0, io.SEEK_END)

    @functools.cached_property
    def _start(self) -> bytes:
        return self._read(_HEAD_BYTES)

    def _read(self, size: int = -1) -> bytes:
        with self.folder.open(self.name) as file:
            if not self.name.lower().endswith(".gz"):
                return file.read(size)
            try:
                with gzip.open(file) as unpacked:
                    return unpacked.read(size)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise TableError(
                    f"The file must be whole. Received: {self.name}, which is damaged: {error}"
                ) from error


def _encoding(content: bytes) -> str:
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if is_wide:
        return "utf-16"
    # No text has the character NUL: it is half of an ASCII one.
    marks = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
    return marks.get((content[:1] == b"\0", content[1:2] == b"\0"), "utf-8-sig")
