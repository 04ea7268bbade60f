"""From the annotations of one image to the columns of a task, when its real size is known."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from kfp_vision.components.data_import.objects.annotations import AnnotatedImage, Annotation
from kfp_vision.components.data_import.objects.masks import encode_outline, mask_extent
from kfp_vision.components.data_import.objects.turning import (
    is_as_stored,
    is_taken_as_upright,
    turn_annotations,
)
from kfp_vision.components.data_import.samples import Rejection, Target

__all__ = ["ObjectTarget", "box_of"]

# Rounding in a file is no object that reaches out of its image.
_TOLERANCE_PX = 0.5

_Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class ObjectTarget:
    """What reads the objects of one image: a `read_target` of `Sample`.

    Attributes:
        image: Its annotations.
        classes: Names of all classes.
        has_masks: Whether the task needs a mask of every object.
        num_keypoints: Of every object; 0 for a task without.
    """

    image: AnnotatedImage
    classes: Sequence[str]
    has_masks: bool = False
    num_keypoints: int = 0

    def __call__(self, height: int, width: int, orientation: int) -> Target | Rejection:
        """Returns the columns of objects in pixels of the image, or why it cannot be used.

        An image whose annotations are all left out is rejected: as background it would be wrong.
        """
        image, changes = self.image, []
        if is_as_stored(image.size, height, width, orientation):
            image = turn_annotations(image, orientation)
            changes.append("turned")
        elif image.annotations and is_taken_as_upright(image.size, height, width, orientation):
            changes.append("upright")
        scale = _scale(image, height, width)
        if isinstance(scale, Rejection):
            return scale
        if not image.is_relative and scale != (1.0, 1.0):
            changes.append("rescaled")
        kept: list[_Object] = []
        seen: set[Annotation] = set()
        for annotation in image.annotations:
            if annotation in seen:
                changes.append("repeated")
                continue
            seen.add(annotation)
            found = self._read(annotation, scale, height, width, changes)
            if found is not None:
                kept.append(found)
        if image.annotations and not kept:
            reasons = ", ".join(sorted(set(changes)))
            message = f"None of its {len(image.annotations)} objects can be used: {reasons}."
            return Rejection(image.path, "no_usable_object", message)
        columns = {
            "boxes": [value for each in kept for value in each.box],
            "box_classes": [each.label for each in kept],
            "crowd": [each.crowd for each in kept],
            "segments": [each.segment for each in kept],
            "keypoints": [value for each in kept for value in each.keypoints],
        }
        labels = tuple(sorted({self.classes[each.label] for each in kept}))
        return Target(labels, columns, tuple(changes))

    def _read(
        self,
        annotation: Annotation,
        scale: tuple[float, float],
        height: int,
        width: int,
        changes: list[str],
    ) -> "_Object | None":
        """Returns an object at the size of the image; None, with the reason, for one left out."""
        if annotation.label < 0:
            changes.append("unknown_class")
            return None
        segment, extent = b"", None
        if self.has_masks:
            if annotation.outline is None:
                changes.append("no_mask")
                return None
            code = encode_outline(annotation.outline, scale, height, width)
            # The box of a mask is what the mask covers, whatever else is written.
            extent = mask_extent(code, height, width) if code is not None else None
            if code is None or extent is None:
                changes.append("broken_mask" if code is None else "empty_mask")
                return None
            segment = code
        box = extent or _fit_box(box_of(annotation), scale, height, width, changes)
        points = self._read_points(annotation, scale, height, width, changes) if box else None
        if box is None or points is None:
            return None
        return _Object(box, annotation.label, annotation.crowd, segment, points)

    def _read_points(
        self,
        annotation: Annotation,
        scale: tuple[float, float],
        height: int,
        width: int,
        changes: list[str],
    ) -> list[float] | None:
        """Returns (x, y, visibility) of each keypoint, 0 where it is not labelled."""
        if not self.num_keypoints:
            return []
        if annotation.keypoints is None:
            changes.append("no_keypoints")
            return [0.0] * (3 * self.num_keypoints)
        flat = np.frombuffer(annotation.keypoints, np.float32)
        if len(flat) != 3 * self.num_keypoints:
            changes.append("keypoint_count")
            return None
        points = flat.reshape(-1, 3) * np.array([scale[1], scale[0], 1.0], np.float32)
        is_labelled = np.isfinite(points).all(axis=1) & (points[:, 2] > 0)
        limits = np.array([width, height]) + _TOLERANCE_PX
        within = ((points[:, :2] >= -_TOLERANCE_PX) & (points[:, :2] <= limits)).all(axis=1)
        changes += ["keypoints_outside"] * int((is_labelled & ~within).sum())
        is_labelled &= within
        if not is_labelled.any():
            changes.append("no_keypoints")
        points = np.clip(points, 0, [width, height, 2.0])
        kept: list[float] = np.where(is_labelled[:, None], points, 0.0).ravel().tolist()
        return kept


@dataclasses.dataclass(frozen=True, slots=True)
class _Object:
    box: _Box
    label: int
    crowd: bool
    segment: bytes
    keypoints: list[float]


def box_of(annotation: Annotation) -> _Box | None:
    """Returns the box of an object, else what its polygons or labelled keypoints span."""
    if annotation.box is not None:
        return annotation.box
    if isinstance(annotation.outline, tuple) and annotation.outline:
        corners = np.frombuffer(b"".join(annotation.outline), np.float32).reshape(-1, 2)
    elif annotation.keypoints is not None and len(annotation.keypoints) % 12 == 0:
        points = np.frombuffer(annotation.keypoints, np.float32).reshape(-1, 3)
        corners = points[points[:, 2] > 0, :2]
    else:
        return None
    if not len(corners):
        return None
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right, bottom


def _scale(image: AnnotatedImage, height: int, width: int) -> tuple[float, float] | Rejection:
    """Returns the (vertical, horizontal) scale of coordinates, or why there is none."""
    if image.is_relative:
        return float(height), float(width)
    if image.size is None or image.size == (height, width):
        return 1.0, 1.0
    stated_height, stated_width = image.size
    scale = height / stated_height, width / stated_width
    # Sides are whole pixels: what was resized is off by one at most.
    if abs(stated_height * scale[1] - height) <= 1 or abs(stated_width * scale[0] - width) <= 1:
        return scale
    turned = (
        " It may have been turned after that: annotate it as it is shown."
        if image.size == (width, height)
        else ""
    )
    return Rejection(
        image.path,
        "annotation_size",
        f"Its annotations are for {stated_width:g} x {stated_height:g} pixels, the image has "
        f"{width} x {height}, another shape.{turned}",
    )


def _fit_box(
    box: _Box | None,
    scale: tuple[float, float],
    height: int,
    width: int,
    changes: list[str],
) -> _Box | None:
    """Returns a box in pixels within the image; None, with the reason, for one left out."""
    if box is None:
        changes.append("no_box")
        return None
    if not all(map(math.isfinite, box)):
        changes.append("not_finite")
        return None
    left, top, right, bottom = (
        value * factor for value, factor in zip(box, (*scale[::-1], *scale[::-1]), strict=True)
    )
    if right <= left or bottom <= top:
        changes.append("no_area")
        return None
    inside = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        changes.append("outside")
        return None
    if max(-left, -top, right - width, bottom - height) > _TOLERANCE_PX:
        changes.append("clipped")
    return inside
