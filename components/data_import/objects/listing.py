"""From annotated images to a listing: what the annotations are for, which classes, what was found.

The most that the annotations can teach is taken: keypoints before masks before boxes.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from kfp_vision.components.data_import.objects.annotations import (
    AnnotatedImage,
    Annotation,
    RunLengths,
)
from kfp_vision.components.data_import.objects.targets import ObjectTarget, box_of
from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample
from kfp_vision.components.data_import.wording import count_codes, name_some
from kfp_vision.components.shared.datasets.image_files import escape_name
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["ObjectSource", "list_objects", "without_objects"]

_WORDS = {
    "keypoints": "keypoints",
    "instance_segmentation": "masks",
    "detection": "boxes",
}


@dataclasses.dataclass(frozen=True)
class ObjectSource:
    """What a reader of annotations has found.

    Attributes:
        images: Annotated or background, in a fixed order.
        classes: Names; the position is the label of annotations.
        notes: One sentence each.
        keypoint_names: Of the keypoints of every object.
        keypoint_swaps: Pairs of positions that a mirror image swaps.
        rejections: Files that are no image of the source.
    """

    images: list[AnnotatedImage]
    classes: Sequence[str]
    notes: list[str]
    keypoint_names: Sequence[str] = ()
    keypoint_swaps: Sequence[tuple[int, int]] = ()
    rejections: Sequence[Rejection] = ()


def list_objects(folder: Folder, source: ObjectSource) -> Listing:
    """Lists annotated images for the task that their annotations are for.

    Raises:
        ValueError: There is no object, or all of them are crowds.
    """
    images = _joined(source.images)
    repeated = len(source.images) - len(images)
    counts = collections.Counter(
        each.label for image in images for each in image.annotations if each.label >= 0
    )
    if not any(
        each.label >= 0 and not each.crowd for image in images for each in image.annotations
    ):
        problems = [(image.path, *image.problem) for image in images if image.problem]
        reasons = count_codes(code for _, code, _ in problems)
        shown = (
            f", for instance {problems[0][0]!r}: {problems[0][2].rstrip('.')}" if problems else ""
        )
        left_out = f", left out: {reasons}{escape_name(shown)}" if problems else ""
        crowd = sum(counts.values())
        held = f"{crowd:,} crowds or difficult ones, which are not learned," if crowd else "none"
        strange = sum(each.label < 0 for image in images for each in image.annotations)
        held += f" of a class that is listed, {strange:,} of others," if strange else ""
        found = escape_name("".join(f" {note}" for note in source.notes))
        raise ValueError(
            f"Annotations must hold objects. Received: {held} in {folder.uri!r}; {len(images)} "
            f"images{left_out}.{found} Label objects in some of them, or check that the "
            "annotations are those of these images."
        )
    _require_boxes(images, folder.uri)
    _require_keypoints(images, source.keypoint_names)
    used = [label for label in range(len(source.classes)) if counts[label]]
    classes = tuple(source.classes[label] for label in used)
    if len(used) < len(source.classes) or any(
        each.label < 0 for image in images for each in image.annotations
    ):
        _renumber(images, {label: place for place, label in enumerate(used)})
    images, unable = _without_unable_splits(images)
    tasks = _tasks(images, source.keypoint_names)
    notes = [*source.notes, *unable, *_notes(images, classes, source, tasks)]
    unused = sorted(set(source.classes) - set(classes))
    if unused:
        notes.append(f"Classes without an object, left out: {name_some(unused)}.")
    if repeated:
        notes.append(f"{repeated} images are listed twice in one split: their objects were joined.")

    def listing(task: str) -> Listing:
        return Listing(
            _samples(folder, images, source, classes, task),
            len(images) + len(source.rejections),
            [*map(escape_name, notes)],
            frozenset(classes),
            frozenset(image.split for image in images if image.split),
            task=task,
            class_order=classes,
            other_tasks={name: functools.partial(listing, name) for name in tasks if name != task},
            keypoint_names=tuple(source.keypoint_names) if task == "keypoints" else (),
            keypoint_swaps=tuple(source.keypoint_swaps) if task == "keypoints" else (),
        )

    return listing(tasks[0])


def _require_boxes(images: Sequence[AnnotatedImage], uri: str) -> None:
    """Refuses objects of which none has a place."""
    objects = [each for image in images for each in image.annotations]
    if any(_has_place(each) for each in objects):
        return
    without = sum(box_of(each) is None for each in objects)
    raise ValueError(
        "Objects must have a box with an area, an outline or keypoints. Received: "
        f"{len(objects):,} objects in {uri!r}, {without:,} without any, {len(objects) - without:,} "
        "with boxes of NaN, or that end where they start or before."
    )


def _has_place(annotation: Annotation) -> bool:
    if isinstance(annotation.outline, RunLengths) and annotation.outline.counts:
        return True
    box = box_of(annotation)
    return box is not None and -math.inf < box[0] < box[2] < math.inf and box[1] < box[3] < math.inf


def _require_keypoints(images: Sequence[AnnotatedImage], names: Sequence[str]) -> None:
    """Refuses keypoints that cannot be told apart, or are not those that are named."""
    if len({*names}) < len(names) or "" in names:
        raise ValueError(
            f"Keypoints must have names that differ. Received: {list(names)[:20]}. Correct "
            "`keypoints` of the categories of COCO, or `kpt_names` of YOLO."
        )
    if not names:
        return
    counts = collections.Counter(
        len(each.keypoints or b"") // 12
        for image in images
        for each in image.annotations
        if _shows_keypoints(each)
    )
    if counts and not counts[len(names)]:
        raise ValueError(
            f"Objects must have as many keypoints as there are names. Received: {len(names)} "
            f"names, {list(names)[:20]}, and objects of {sorted(counts)[:5]} keypoints. Correct "
            "`keypoints` of the categories of COCO, or `kpt_shape` of YOLO."
        )


def _joined(images: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """Returns each path of a split once, with all of its objects."""
    first: dict[tuple[str, str | None], AnnotatedImage] = {}
    for image in images:
        known = first.setdefault((image.path, image.split), image)
        if known is not image:
            known.annotations += image.annotations
    return list(first.values())


def _without_unable_splits(
    images: list[AnnotatedImage],
) -> tuple[list[AnnotatedImage], list[str]]:
    """Returns the images without splits that cannot judge a model, and a sentence on each."""
    notes = []
    for split in ("validation", "test"):
        held = [image for image in images if image.split == split]
        is_background = all(
            image.problem is None and all(each.crowd for each in image.annotations)
            for image in held
        )
        if held and is_background:
            images = [image for image in images if image.split != split]
            notes.append(without_objects(f"The split {split}", len(held), split))
    return images, notes


def without_objects(name: str, count: int, split: str) -> str:
    """Returns a sentence on images without an object to learn, of a split that judges models."""
    return (
        f"{name} has {count:,} images and no object: it cannot judge a model and is not used. "
        f"The {split} images are taken from the training images."
    )


def _renumber(images: Sequence[AnnotatedImage], place: dict[int, int]) -> None:
    for image in images:
        image.annotations = [
            dataclasses.replace(each, label=place.get(each.label, -1)) for each in image.annotations
        ]


def _tasks(images: Sequence[AnnotatedImage], keypoint_names: Sequence[str]) -> list[str]:
    """Returns the tasks that the annotations are for; the first is the one that is taken."""
    objects = [each for image in images for each in image.annotations if not each.crowd]
    has_keypoints = bool(keypoint_names) and any(map(_shows_keypoints, objects))
    masks = sum(_has_mask(each) and not _is_box(each) for each in objects)
    has_outlines = any(map(_has_mask, objects))
    # Tools for boxes write four corners as the outline of each; a few masks among boxes are slips.
    order = {
        "keypoints": has_keypoints,
        "instance_segmentation": 2 * masks >= max(len(objects), 1),
        "detection": True,
    }
    tasks = [name for name, is_there in order.items() if is_there]
    if has_outlines and "instance_segmentation" not in tasks:
        tasks.append("instance_segmentation")
    return tasks


def _shows_keypoints(annotation: Annotation) -> bool:
    if annotation.keypoints is None or len(annotation.keypoints) % 12:
        return False
    return bool((np.frombuffer(annotation.keypoints, np.float32)[2::3] > 0).any())


def _has_mask(annotation: Annotation) -> bool:
    """Returns whether an object has an outline that can be read."""
    outline = annotation.outline
    return bool(outline.counts) if isinstance(outline, RunLengths) else outline is not None


def _is_box(annotation: Annotation) -> bool:
    """Returns whether the outline is a rectangle with the sides of the image."""
    if not isinstance(annotation.outline, tuple) or len(annotation.outline) != 1:
        return False
    corners = np.frombuffer(annotation.outline[0], np.float32).reshape(-1, 2)
    return len(corners) in (4, 5) and all(len(np.unique(axis)) == 2 for axis in corners.T)


def _notes(
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    source: ObjectSource,
    tasks: Sequence[str],
) -> Iterator[str]:
    objects = [each for image in images for each in image.annotations]
    counts = {
        "boxes": sum(box_of(each) is not None for each in objects),
        "masks": sum(map(_has_mask, objects)),
        "keypoints": sum(map(_shows_keypoints, objects)),
    }
    held = ", ".join(f"{count:,} with {name}" for name, count in counts.items() if count)
    crowd = sum(each.crowd for each in objects)
    plural = "es" * (len(classes) != 1)
    yield (
        f"{len(objects):,} objects of {len(classes)} class{plural} in {len(images):,} images: "
        f"{held}"
        + (f"; {crowd:,} are crowds or difficult, neither learned nor counted." if crowd else ".")
    )
    yield f"The annotations are for {tasks[0]}." + "".join(
        f" `--task {name}` learns the {_WORDS[name]}." for name in tasks[1:]
    )
    broken = sum(each.outline is not None and not _has_mask(each) for each in objects)
    if broken and tasks[0] != "instance_segmentation":
        yield (
            f"{broken:,} outlines cannot be read, and are not used: polygons are lists of x and y "
            "of three corners or more, run lengths fit their size."
        )
    empty = sum(not image.annotations and image.problem is None for image in images)
    if empty:
        yield f"{empty:,} images have no object: background."
    if source.keypoint_names and "keypoints" not in tasks:
        yield f"{len(source.keypoint_names)} keypoints are named, and none is labelled: not used."
    if "keypoints" in tasks:
        names = source.keypoint_names
        pairs = ", ".join(f"{names[a]} and {names[b]}" for a, b in source.keypoint_swaps)
        yield (
            f"{len(names)} keypoints: {', '.join(names)}; "
            + (f"a mirror image swaps {pairs}." if pairs else "a mirror image swaps none.")
        )


def _samples(
    folder: Folder,
    images: Sequence[AnnotatedImage],
    source: ObjectSource,
    classes: Sequence[str],
    task: str,
) -> Iterator[Sample | Rejection]:
    has_masks = task == "instance_segmentation"
    num_keypoints = len(source.keypoint_names) if task == "keypoints" else 0
    yield from source.rejections
    for image in images:
        if image.problem:
            yield Rejection(escape_name(image.path), *image.problem)
            continue
        labels = {classes[each.label] for each in image.annotations if each.label >= 0}
        sample = Sample(
            image.path,
            tuple(sorted(labels)),
            image.split,
            folder,
            ObjectTarget(image, classes, has_masks, num_keypoints),
        )
        yield reject_path(folder, image.path) or sample
