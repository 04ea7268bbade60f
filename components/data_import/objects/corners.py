"""Boxes that were written as corners where left, top, width and height are meant."""

from collections.abc import Iterable

from PIL import Image

from kfp_vision.components.data_import.objects.annotations import AnnotatedImage
from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["suspect_corners"]

# Of boxes that reach out of their image, above which corners are suspected instead of sizes.
_MAX_OUTSIDE = 0.2
_FEWEST_BOXES = 5
# Images whose files are opened for it, where no size is listed.
_LOOKED_AT = 50
# Of rounding, in pixels, and in shares of the image.
_SLACK_PX, _SLACK_SHARE = 1.0, 0.01
_ORIENTATION = 0x0112  # EXIF tag; from 5 on the sides are swapped.


def suspect_corners(folder: Folder, images: Iterable[AnnotatedImage]) -> str:
    """Returns, in words after a "where", why the last two numbers of boxes are right and bottom.

    As sizes many boxes reach out of their images, and as corners all of them are boxes within.
    Empty where that is not so.

    Args:
        folder: The data root.
        images: With boxes that were read as left, top, width and height.
    """
    boxes = outside = looked_at = 0
    for image in images:
        size = (1.0, 1.0) if image.is_relative else image.size
        slack = _SLACK_SHARE if image.is_relative else _SLACK_PX
        if size is None and looked_at < _LOOKED_AT and image.annotations:
            size, looked_at = _size_of(folder, image.path), looked_at + 1
        if size is None:
            continue
        height, width = size[0] + slack, size[1] + slack
        for each in image.annotations:
            if each.box is None or each.crowd:
                continue
            left, top, right, bottom = each.box
            third, fourth = right - left, bottom - top
            if not (left < third <= width and top < fourth <= height):
                return ""
            boxes += 1
            outside += right > width or bottom > height
    if boxes < _FEWEST_BOXES or outside <= _MAX_OUTSIDE * boxes:
        return ""
    return (
        f"{outside:,} of {boxes:,} boxes reach out of their image, and all are right as left, top, "
        "right, bottom"
    )


def _size_of(folder: Folder, path: str) -> tuple[float, float] | None:
    """Returns height and width of the file of an image; None where it is none."""
    if reject_path(folder, path):
        return None
    try:
        with folder.open(path) as file, Image.open(file) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
