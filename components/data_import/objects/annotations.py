"""Objects within images, as sources write them: boxes, outlines and keypoints, not checked yet."""

import dataclasses

__all__ = ["CHANGES", "LEFT_OUT", "AnnotatedImage", "Annotation", "RunLengths", "number_of"]

# What happened to objects or images on the way into the store -> in words, after their number.
CHANGES = {
    "clipped": "boxes reach out of their image: clipped to it",
    "outside": "objects lie outside of their image: left out",
    "no_area": "boxes have no area, or end before they start: left out",
    "not_finite": "boxes hold NaN or infinity: left out",
    "no_box": "objects have no box: left out",
    "no_mask": "objects have no mask: left out",
    "broken_mask": "masks cannot be read, or are of another size than their image: left out",
    "empty_mask": "masks are empty: left out",
    "repeated": "objects are written twice: kept once",
    "unknown_class": "objects are of a class that is not listed: left out",
    "keypoint_count": "objects have another number of keypoints than the others: left out",
    "keypoints_outside": "keypoints lie outside of their image: taken as not labelled",
    "no_keypoints": "objects have no labelled keypoint: kept for their box",
    "turned": "photographs are annotated as stored: turned with the image",
    "upright": "photographs are turned by EXIF, and no size tells which one annotations are for: "
    "taken for the upright one",
    "rescaled": "images are larger or smaller than their annotations say: these were scaled",
}
# Those after which an object is missing in its image, of which the rest is taken for background.
LEFT_OUT = (
    "outside",
    "no_area",
    "not_finite",
    "no_box",
    "no_mask",
    "broken_mask",
    "empty_mask",
    "unknown_class",
    "keypoint_count",
)


@dataclasses.dataclass(frozen=True, slots=True)
class RunLengths:
    """A mask in the compressed run-length code of COCO.

    Attributes:
        height, width: Of the image that it is of.
        counts: Empty where the source's could not be read.
    """

    height: int
    width: int
    counts: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Annotation:
    """One object; hashable, so that what is written twice is found.

    Attributes:
        label: Position of its class in the reader's list; -1 for a class that is not listed.
        box: Left, top, right, bottom; None without one.
        outline: Polygons, each float32 (x, y, x, y, ...) as bytes, or a mask; None without one.
        keypoints: float32 (x, y, visibility) of each, as bytes; None without any.
        crowd: Whether it is a group, or too difficult: neither learned nor counted as an error.
    """

    label: int
    box: tuple[float, float, float, float] | None = None
    outline: tuple[bytes, ...] | RunLengths | None = None
    keypoints: bytes | None = None
    crowd: bool = False


@dataclasses.dataclass(slots=True)
class AnnotatedImage:
    """The objects of one image.

    Attributes:
        path: In the data root.
        split: One of `SPLITS`, or None where the source does not say.
        annotations: In the order of the source.
        size: Height and width that coordinates are for, in pixels; None for those of the file.
        is_relative: Whether coordinates are shares of the image, from 0 to 1.
        problem: Code and message, where the image cannot be used.
    """

    path: str
    split: str | None
    annotations: list[Annotation] = dataclasses.field(default_factory=list)
    size: tuple[float, float] | None = None
    is_relative: bool = False
    problem: tuple[str, str] | None = None


def number_of(value: object) -> float:
    """Returns a number, of a text, too; NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")
