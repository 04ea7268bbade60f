"""A font that has the characters of some texts: Pillow's own, or one of this machine.

Pillow's own has the letters of English alone.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import ImageFont

__all__ = ["choose_font", "drawable"]

# Where systems keep fonts for all of their users.
_FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts"),
)
_SUFFIXES = (".ttf", ".ttc", ".otf")
# Of file names; plain faces are tried first.
_STYLED = re.compile(
    "bold|italic|oblique|light|thin|black|condensed|mono|serif|math", re.IGNORECASE
)
# Unicode will never have it: how a font draws it is how it draws what it lacks.
_NO_CHARACTER = "\U0010ffff"
_TRIED_SIZE = 20


def choose_font(texts: Sequence[str], size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the first font that has most characters of some texts, all of them if there is one.

    Args:
        texts: To be drawn.
        size: In pixels.
    """
    return _open(_choose(frozenset("".join(texts))), size)


def drawable(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, number: int) -> str:
    """Returns a text, of which `#number` replaces what a font has no characters for."""
    lacking = [place for place, character in enumerate(text) if not _has(font, character)]
    if not lacking:
        return text
    return f"{text[: lacking[0]]}#{number}{text[lacking[-1] + 1 :]}"


@functools.cache
def _choose(characters: frozenset[str]) -> Path | None:
    """Returns the file of a font; None for Pillow's own."""
    best, most = None, -1
    for file in (None, *_font_files()):
        count = sum(_file_has(file, each) for each in characters)
        if count > most:
            best, most = file, count
        if most == len(characters):
            break
    return best


@functools.cache
def _font_files() -> tuple[Path, ...]:
    found = (
        path
        for folder in _FOLDERS
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in _SUFFIXES
    )
    return tuple(sorted(found, key=lambda path: (bool(_STYLED.search(path.stem)), path.name)))


@functools.cache
def _file_has(file: Path | None, character: str) -> bool:
    try:
        return _has(_open(file, _TRIED_SIZE), character)
    except OSError:  # One of pictures, which has a single size, or a damaged one.
        return False


@functools.cache
def _open(file: Path | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if file is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(file, size)


@functools.cache
def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, character: str) -> bool:
    drawn, nothing = (font.getmask(each) for each in (character, _NO_CHARACTER))
    return character.isspace() or (drawn.size, bytes(drawn)) != (nothing.size, bytes(nothing))
