"""The size that images get before a network sees them: their shape, at another area."""

import math

__all__ = ["size_of_area"]


def size_of_area(height: int, width: int, side: float, min_side: int = 1) -> tuple[int, int]:
    """Returns (height, width) of the same shape with an area of about `side` squared.

    Args:
        height: In pixels.
        width: In pixels.
        side: Side of the square of the wanted area.
        min_side: Least height and least width.
    """
    scale = side / math.sqrt(height * width)
    return max(min_side, round(height * scale)), max(min_side, round(width * scale))
