"""The colours of classes.

Reference: Glasbey et al., 2007, Colour displays for categorical images; the distances are those
of OKLab (Ottosson, 2020, A perceptual color space for image processing).
"""

import functools
from collections.abc import Sequence

import numpy as np

__all__ = ["class_colour", "legend", "oklab"]

_COUNT, _LEVELS = 256, 12
# Of the lightness, 0 to 1: lines in the dark or the white of a photograph are not seen.
_DARKEST, _LIGHTEST = 0.45, 0.92
# Grays are those of the photograph.
_LEAST_CHROMA = 0.09
_FIRST = (242, 36, 36)
# Classes and keypoints that a legend names.
_MOST_NAMED = 40


def class_colour(label: int) -> tuple[int, int, int]:
    """Returns the colour of a class, always the same."""
    red, green, blue = _colours()[label % _COUNT]
    return red, green, blue


def legend(classes: Sequence[str], keypoints: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (name, colour of CSS) of what is drawn in pictures; one class alone needs none."""
    named = [*enumerate(classes if len(classes) > 1 else ()), *enumerate(keypoints, start=1)]
    return [
        (name, "#{:02x}{:02x}{:02x}".format(*class_colour(place)))
        for place, name in named[:_MOST_NAMED]
    ]


def oklab(colours: np.ndarray) -> np.ndarray:
    """Returns lightness and two axes of hue, [..., 3]; distances are as they are seen.

    Args:
        colours: sRGB, 0 to 255, [..., 3].
    """
    share = colours / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    seen: np.ndarray = np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return seen


@functools.cache
def _colours() -> list[list[int]]:
    """Returns colours of which each is as far as can be from all before it."""
    levels = np.round(np.linspace(0, 255, _LEVELS)).astype(int)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    places = oklab(colours)
    lightness, chroma = places[:, 0], np.hypot(places[:, 1], places[:, 2])
    usable = (lightness >= _DARKEST) & (lightness <= _LIGHTEST) & (chroma >= _LEAST_CHROMA)
    colours, places = colours[usable], places[usable]
    chosen = [list(_FIRST)]
    distance = np.full(len(places), np.inf)
    while len(chosen) < _COUNT:
        latest = oklab(np.array(chosen[-1]))
        distance = np.minimum(distance, np.linalg.norm(places - latest, axis=1))
        chosen.append(colours[distance.argmax()].tolist())
    return chosen
