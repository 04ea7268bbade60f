"""The `dataset_info` artifact: what is known about the images, which are artifacts of their own."""

import dataclasses
from typing import Literal

__all__ = ["SPLITS", "DatasetInfo", "SourceFormat"]

SourceFormat = Literal[
    "class_folders",
    "mask_folders",
    "manifest",
    "npz",
    "idx",
    "tfds",
    "coco",
    "pascal_voc",
    "yolo",
    "box_table",
]
SPLITS = ("train", "validation", "test", "unlabeled")


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """`dataset.json` of the `dataset_info` artifact.

    Beside it: `rejected.parquet`, one row per file that was left out: `path` below what `source`
    leads to (`dataset_uri` or `unlabeled_uri`), `code` and `message`; and `near_duplicates.npy`
    (see `shared/datasets/near_duplicates.py`). The images of a split are the artifact of its name,
    `<split>.arrow` (see `shared/datasets/store.py`). A stage sees all that it reads in one folder
    (see `shared/artifacts/artifact_parts.py`).

    Attributes:
        task: A key of `shared.tasks.TASKS`.
        classes: Class names; the position is the label.
        splits: Split name -> number of images; only splits that have images.
        channels: 1 when every image is gray, else 3.
        median_height, median_width: Pixels, over the training images.
        fingerprint: SHA-256 (hex) over samples and labels; the order does not matter.
        source_uri: Where the images came from.
        source_format: The reader's name.
        split_origin: Split name -> `given` by the source or `made` here.
        rejected: Code -> number of files left out.
        notes: What was detected and decided, one sentence each.
        white_level: The value of 16-bit pixels that became 255, the same for every image; what
            the model predicts must be scaled by it too.
        keypoint_names: Of the keypoints of every object; empty for other tasks.
        keypoint_swaps: Pairs of positions in it that a mirror image swaps, as left and right.
        most_objects: Of the training image that shows the most; a model finds as many at least.
        objects_clipped: How many boxes reached out of their image.
        objects_left_out: What was wrong -> number of objects that are missing in the images.
        unlabeled_uri: Where images without labels came from; empty for the same place, or none.
    """

    task: str
    classes: list[str]
    splits: dict[str, int]
    channels: int
    median_height: int
    median_width: int
    fingerprint: str
    source_uri: str
    source_format: str
    split_origin: dict[str, str]
    rejected: dict[str, int]
    notes: list[str]
    white_level: int = 2**16 - 1
    keypoint_names: list[str] = dataclasses.field(default_factory=list)
    keypoint_swaps: list[list[int]] = dataclasses.field(default_factory=list)
    most_objects: int = 0
    objects_clipped: int = 0
    objects_left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    unlabeled_uri: str = ""
