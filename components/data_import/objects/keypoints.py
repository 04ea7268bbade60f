"""Which keypoints are the left and the right one of a pair, by their names."""

import re
from collections.abc import Sequence

__all__ = ["swapped_pairs"]

_WORD = re.compile(r"left|right", re.IGNORECASE)
# `l_ear`, `ear.R`, `knee r`: a letter on its own.
_LETTER = re.compile(r"(?<![a-z])[lr](?![a-z])", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def swapped_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs of positions that a mirror image swaps, the smaller first."""
    position = {name: index for index, name in enumerate(names)}
    pairs = {
        (min(index, position[mirrored]), max(index, position[mirrored]))
        for name, index in position.items()
        if (mirrored := _mirrored(name)) != name and mirrored in position
    }
    return sorted(pairs)


def _mirrored(name: str) -> str:
    pattern = _WORD if _WORD.search(name) else _LETTER
    return pattern.sub(lambda match: _in_case(_OTHER[match[0].lower()], match[0]), name)


def _in_case(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
