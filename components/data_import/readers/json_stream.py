"""A large JSON object, value by value: of its lists one element at a time is in memory."""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["JsonError", "stream_object"]

_CHUNK = 2**20
_BLANKS = " \t\n\r"
# Of a text whose last number may go on.
_NUMBER_ENDS = ("", ".", "e", "e+", "e-")
# Characters at the end of a text that may be the beginning of something: `-Infinity`, `\\u00e9`.
_LONGEST_MARK = 16


class JsonError(ValueError):
    """A file is no JSON object; the message says where."""


def stream_object(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yields the keys of an object with their values; of a list, the key with each element.

    Numbers may be `NaN` and `Infinity`, which Python writes. Memory holds one element and a chunk.

    Args:
        file: UTF-8 text.

    Raises:
        JsonError: It is not an object, or not whole.
    """
    text = _Text(file)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        key = text.value()
        text.expect(":")
        if text.peek() == "[":
            text.expect("[")
            while text.peek() != "]":
                yield key, text.value()
                if text.peek() != "]":
                    text.expect(",")
            text.expect("]")
        else:
            yield key, text.value()
        if text.peek() == "}":
            return
        text.expect(",")


class _Text:
    """The unread part of a text file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, json.JSONDecoder()
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._place, self._passed, self._ended = "", 0, 0, False

    def _more(self, size: int) -> bool:
        """Reads on; returns whether there was more."""
        if self._ended:
            return False
        self._passed += self._place
        content = self._file.read(size)
        self._ended = not content
        try:
            text = self._utf8.decode(content, final=self._ended)
        except UnicodeDecodeError as error:
            raise JsonError(f"it is not UTF-8: {error}") from error
        self._text, self._place = self._text[self._place :] + text, 0
        return not self._ended

    def peek(self) -> str:
        """Returns the next character that is not blank; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _BLANKS:
                    return self._text[self._place]
                self._place += 1
            if not self._more(_CHUNK):
                return ""

    def expect(self, mark: str) -> None:
        """Reads a character."""
        found = self.peek()
        if found != mark:
            raise JsonError(
                f"{mark!r} is expected after {self._passed + self._place} characters, not "
                f"{found or 'the end'!r}"
            )
        self._place += 1

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Returns whether the text may be one that more of the file completes."""
        rest = self._text[error.pos :].lstrip(_BLANKS + ",")
        return error.msg.startswith("Unterminated string") or len(rest) <= _LONGEST_MARK

    def value(self) -> Any:
        """Reads a value of any kind."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._may_go_on(error) and self._more(size):
                    size *= 2
                    continue
                raise JsonError(
                    f"{error.msg} after {self._passed + error.pos} characters"
                ) from error
            except RecursionError as error:
                raise JsonError("it is nested too deeply") from error
            except ValueError as error:  # A number of thousands of digits.
                raise JsonError(str(error)) from error
            if self._text[end : end + 3].lower() in _NUMBER_ENDS and self._more(size):
                continue
            self._place = end
            return value
