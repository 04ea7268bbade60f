"""Names in pictures: beside boxes, and of colours below the picture."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kfp_vision.components.shared.datasets.fonts import choose_font, drawable
from kfp_vision.components.shared.datasets.palette import class_colour, oklab

__all__ = ["draw_names", "with_legend"]

# Of the shorter side of a picture, in pixels: below, names would hide it or cannot be read.
_LEAST_SIDE = 64
# Of a text, in pixels, and the part of the shorter side that it has in a larger picture.
_LEAST_TEXT, _TEXT_SHARE = 11, 1 / 36
# From this lightness on text is black.
_BRIGHT = 0.65


def draw_names(
    image: Image.Image, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> None:
    """Draws names beside boxes into an RGB image, on the colours of their classes.

    One is above its box, below or in it, or left out where it would lie on another name or on the
    middle of another box.

    Args:
        image: Is changed.
        boxes: [M, 4] as (left, top, right, bottom), pixels; those of the first ones go first.
        labels: Their classes, int [M].
        names: M texts. What no font of this machine can draw in one is `#` and its class.
    """
    if min(image.size) < _LEAST_SIDE:
        return
    canvas, font = ImageDraw.Draw(image), _font(image.size, names)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    taken = np.zeros((0, 4))
    for place, (label, name) in enumerate(zip(labels.tolist(), names, strict=True)):
        name = drawable(name, font, label)
        others = np.delete(middles, place, axis=0)
        size = _text_size(font, name)
        for spot in _spots(boxes[place], size, image.size):
            covers_name = ((taken[:, :2] < spot[2:]) & (taken[:, 2:] > spot[:2])).all(axis=1)
            covers_middle = ((others >= spot[:2]) & (others <= spot[2:])).all(axis=1)
            if covers_name.any() or covers_middle.any():
                continue
            colour = class_colour(label)
            is_bright = oklab(np.array(colour))[0] >= _BRIGHT
            # Pillow draws the last pixel, too.
            canvas.rectangle([*spot[:2], *(spot[2:] - 1)], fill=colour)
            start = spot[0] + _margin(font), spot[1]
            canvas.text(start, name, fill="black" if is_bright else "white", font=font)
            taken = np.concatenate([taken, spot[None]])
            break


def _spots(box: np.ndarray, size: tuple[int, int], whole: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields where a text of a size may lie in the image, [4]: above the box, below it, in it."""
    width, height = size
    left = np.clip(box[0], 0, max(0, whole[0] - width))
    for top in (box[1] - height, box[3], max(box[1], 0)):
        spot = np.array([left, top, left + width, top + height])
        if top >= 0 and spot[2] <= whole[0] and spot[3] <= whole[1]:
            yield spot


def with_legend(image: Image.Image, names: Sequence[tuple[int, str]]) -> Image.Image:
    """Returns a picture with names and their colours in white rows below it.

    Args:
        image: The RGB picture; a small one is returned as it is.
        names: (class or number, name) of what is shown. What no font of this machine can draw in a
            name is `#` and the number.
    """
    if min(image.size) < _LEAST_SIDE or not names:
        return image
    font = _font(image.size, [name for _, name in names])
    names = [(label, drawable(name, font, label)) for label, name in names]
    margin, height = _margin(font), _text_size(font, "")[1]
    places, x, y = [], 0, 0
    for label, name in names:
        width = height + _text_size(font, name)[0]
        if x and x + width > image.width:
            x, y = 0, y + height
        places.append((x, y, label, name))
        x += width
    legend = Image.new("RGB", (image.width, y + height), "white")
    canvas = ImageDraw.Draw(legend)
    for x, y, label, name in places:
        square = [x + margin, y + margin, x + height - margin, y + height - margin]
        canvas.rectangle(square, fill=class_colour(label))
        canvas.text((x + height, y), name, fill="black", font=font)
    whole = Image.new("RGB", (image.width, image.height + legend.height))
    whole.paste(image)
    whole.paste(legend, (0, image.height))
    return whole


def _font(
    size: tuple[int, int], texts: Sequence[str]
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return choose_font(texts, max(_LEAST_TEXT, round(min(size) * _TEXT_SHARE)))


def _margin(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return _text_size(font, "")[1] // 5


def _text_size(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> tuple[int, int]:
    """Returns (width, height) with a margin left and right; any text is as high as any other."""
    height = int(font.getbbox("Ágjy")[3]) + 2
    return int(font.getlength(text)) + 2 * (height // 5), height
