"""Any supported source of labelled images -> the canonical store, in constant memory.

Reads `dataset_uri` once: lists it, decodes every image on all cores, makes the splits that the
source lacks, and writes `dataset.json`, `<split>.arrow`, `rejected.parquet`,
`near_duplicates.npy`, `cost.json` and `stage_report.json`.
"""

import collections
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_vision.components.data_import.choices import check_choices
from kfp_vision.components.data_import.classes import detect_task, sort_classes
from kfp_vision.components.data_import.made_splits import complete_splits
from kfp_vision.components.data_import.objects.annotations import CHANGES as OBJECT_CHANGES
from kfp_vision.components.data_import.objects.annotations import LEFT_OUT
from kfp_vision.components.data_import.paths import require_few_links
from kfp_vision.components.data_import.readers import FORMATS
from kfp_vision.components.data_import.samples import Listing, Rejection, require_classes
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.data_import.stage_report import import_report
from kfp_vision.components.data_import.staging import Staged, distribute, schema_of, stage
from kfp_vision.components.data_import.wording import count_codes, name_some, of_source
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.champions.known_images import KnownImages
from kfp_vision.components.shared.datasets.decoding import CHANGES
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    SIGNATURE_BYTES,
    held_out_copies,
    join_copies,
    near_duplicate_groups,
    smallest_rows,
)
from kfp_vision.components.shared.datasets.sixteen_bit import FULL_WHITE, white_level
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.tasks import TASKS

__all__ = ["ImportConfig", "import_dataset"]

STAGE = "import_dataset"
_DISK_RULE = (
    "The disk must hold the decoded dataset twice while it is imported; of a failed import nothing "
    "is kept."
)


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """How to import.

    Attributes:
        dataset_format: A key of `readers.FORMATS`, `tfds`, or `auto`.
        task: A key of `shared.tasks.TASKS`, or `auto`.
        unlabeled_uri: A folder of images without labels; empty for none.
        seed: Of the splits that are made.
        follow_links: Whether local links may lead out of the source, and to folders.
        positive_class: Which the source has to have, if any; empty for no check.
    """

    dataset_format: str = "auto"
    task: str = "auto"
    unlabeled_uri: str = ""
    seed: int = 0
    follow_links: bool = False
    positive_class: str = ""

    def __post_init__(self) -> None:
        """Refuses values that mean nothing."""
        choices = {"dataset_format": ["auto", *FORMATS, "tfds"], "task": ["auto", *TASKS]}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {allowed}. Received: {getattr(self, name)!r}"
                )
        if not isinstance(self.unlabeled_uri, str):
            raise ValueError(f"`unlabeled_uri` must be a string. Received: {self.unlabeled_uri!r}")
        if not isinstance(self.follow_links, bool):
            raise ValueError(
                f"`follow_links` must be true or false. Received: {self.follow_links!r}"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"`seed` must be an integer of at least 0. Received: {self.seed!r}")


def import_dataset(
    dataset_uri: str, output_dir: Path, config: ImportConfig, known: KnownImages | None = None
) -> DatasetInfo:
    """Imports a dataset into `output_dir`; an import that fails leaves nothing there.

    Args:
        dataset_uri: A folder, a file, or `tfds:NAME`.
        output_dir: Empty, or not there.
        config: How to import.
        known: Images that keep their split where splits are made; None: all are new.

    Raises:
        ValueError: The source is not a classification set, or too small to be split.
        StorageError: It does not exist or cannot be reached.
        OSError: The disk is full, or `output_dir` holds something already.
    """
    started = time.monotonic()
    if output_dir.exists() and any(output_dir.iterdir()):
        raise FileExistsError(f"`output_dir` must be empty. Received: {output_dir}")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{output_dir.name}-", dir=output_dir.parent, ignore_cleanup_errors=True
    ) as temporary:
        work_dir = Path(temporary) / "dataset"
        work_dir.mkdir()
        # Here and not around the whole: leaving the temporary folder frees the disk.
        with explain_full_disk(output_dir.parent, rule=_DISK_RULE):
            info = _import(dataset_uri, work_dir, config, known or KnownImages())
            done = sum(info.splits.values()) + sum(info.rejected.values())
            cost = StageCost(STAGE, time.monotonic() - started, done)
            write_json(cost, work_dir / COST_FILE)
            write_stage_report(import_report(info), work_dir)
        if output_dir.exists():
            output_dir.rmdir()
        work_dir.rename(output_dir)
    return info


def _import(
    dataset_uri: str, work_dir: Path, config: ImportConfig, known: KnownImages
) -> DatasetInfo:
    staged, listing, source_format, white = _stage(dataset_uri, work_dir, config)
    notes = [f"Format: {source_format}.", *listing.notes]
    _require_inside(staged)
    label_sets = _used_label_sets(staged, dataset_uri)
    classes = list(listing.class_order) or sort_classes(
        name for names in label_sets for name in names
    )
    given = {split for split in staged.splits if split}
    lost = _lost_classes(listing.classes - set(classes), staged)
    if not listing.task:
        require_classes(classes, dataset_uri, lost)
    notes += [lost] if lost else []
    notes += [
        f"No image of the split {name} could be used, although the source names it."
        for name in sorted(listing.splits - given)
    ]
    task = listing.task or detect_task(label_sets, config.task)
    notes.append(f"Task: {task}, {len(classes)} class{'es' * (len(classes) != 1)}.")
    signatures = np.frombuffer(staged.signatures, np.uint8).reshape(-1, SIGNATURE_BYTES)
    with Progress("find near duplicates"):
        near = join_copies(near_duplicate_groups(signatures), np.frombuffer(staged.digests, "V32"))
    splits, made = complete_splits(staged, near, config.seed, known)
    notes += made
    with Progress("write the splits"):
        counts, fingerprint = distribute(work_dir, staged, splits, classes, schema_of(listing))
    order = np.concatenate([np.flatnonzero(splits == name) for name in counts])
    groups = smallest_rows(near[order])
    np.save(work_dir / NEAR_DUPLICATES_FILE, groups)
    notes += [f"{count} images {CHANGES[name]}." for name, count in staged.changes.most_common()]
    notes += [
        f"{count:,} {OBJECT_CHANGES[name]}." for name, count in staged.object_changes.most_common()
    ]
    rejected = collections.Counter(row.code for row in staged.rejections)
    if config.unlabeled_uri and not counts.get("unlabeled"):
        # The profile finds it, too; it is said before hours of training.
        show_note("`unlabeled_uri` holds no image that can be used: none is learned.")
    if copies := int(held_out_copies(groups, counts, np.zeros(0, int)).sum()):
        notes.append(
            f"{copies:,} of {counts['unlabeled']:,} images without labels are near duplicates of "
            "validation or test images: no stage learns them."
        )
    left_out = collections.Counter((row.source, row.code) for row in staged.rejections)
    notes += [
        f"Left out{of_source(source)}: {count} x {code}."
        for (source, code), count in left_out.most_common()
    ]
    _write_rejections(staged.rejections, work_dir / "rejected.parquet")
    sizes = np.frombuffer(staged.sizes, np.int32).reshape(-1, 2)[splits == "train"]
    counted = np.frombuffer(staged.object_counts, np.int32)[splits == "train"]
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    info = DatasetInfo(
        task=task,
        classes=classes,
        splits=counts,
        channels=1 if staged.is_gray else 3,
        median_height=height,
        median_width=width,
        fingerprint=fingerprint,
        source_uri=dataset_uri,
        source_format=source_format,
        split_origin={name: "given" if name in given else "made" for name in counts},
        rejected=dict(rejected),
        notes=notes,
        white_level=white,
        keypoint_names=[*listing.keypoint_names],
        keypoint_swaps=[[*pair] for pair in listing.keypoint_swaps],
        most_objects=int(counted.max(initial=0)),
        objects_clipped=staged.object_changes["clipped"],
        objects_left_out={
            name: staged.object_changes[name] for name in LEFT_OUT if staged.object_changes[name]
        },
        unlabeled_uri=config.unlabeled_uri,
    )
    write_json(info, work_dir / "dataset.json")
    for note in notes:
        print(note, flush=True)
    return info


def _stage(uri: str, work_dir: Path, config: ImportConfig) -> tuple[Staged, Listing, str, int]:
    """Returns the decoded source, its listing and format, and the white level."""
    staged, listing, source_format = _stage_once(uri, work_dir, config, FULL_WHITE)
    white = white_level(staged.peak)
    if white != FULL_WHITE:
        # One scale for all images needs the brightest of them: the source is read again.
        staged, listing, source_format = _stage_once(uri, work_dir, config, white)
        listing.notes.append(
            f"No 16-bit pixel is above {staged.peak}: all were scaled by 255/{white}."
        )
    return staged, listing, source_format, white


def _stage_once(
    uri: str, work_dir: Path, config: ImportConfig, white: int
) -> tuple[Staged, Listing, str]:
    with Progress("list the source"):
        listing, source_format, is_local = list_source(
            uri, config.dataset_format, config.unlabeled_uri, config.follow_links, config.task
        )
        check_choices(listing, config.task, config.positive_class, recipe=None)
    with Progress("read images", listing.total, "images") as progress:
        staged = stage(
            listing.samples, work_dir, is_local, progress.update, white, schema_of(listing)
        )
    return staged, listing, source_format


def _require_inside(staged: Staged) -> None:
    """Refuses a source of which most files lie outside of it."""
    outside = [row for row in staged.rejections if row.code == "outside_root"]
    if outside:
        require_few_links(len(outside), len(staged), outside[0])


def _lost_classes(classes: frozenset[str], staged: Staged) -> str:
    """Returns a sentence on classes of the source of which no image was kept; empty for none."""
    if not classes:
        return ""
    left_out = count_codes(row.code for row in staged.rejections)
    return (
        f"Classes without an image that could be read: {name_some(classes)}; files left "
        f"out in all: {left_out}."
    )


def _used_label_sets(staged: Staged, uri: str) -> list[tuple[str, ...]]:
    """Returns the distinct label tuples of labelled images that were not left out."""
    is_labelled = np.array([split != "unlabeled" for split in staged.splits], bool)
    if not is_labelled.any():
        left_out = count_codes(row.code for row in staged.rejections) or "nothing"
        example = staged.rejections[0] if staged.rejections else None
        raise ValueError(
            f"There must be images with labels. Received: none in {uri!r}; left out: {left_out}"
            + (
                f", for instance {example.path!r}{of_source(example.source)}: {example.message}"
                if example
                else ""
            )
        )
    used = np.unique(np.frombuffer(staged.labels, np.int32)[is_labelled])
    names = list(staged.label_sets)
    return [names[index] for index in used]


def _write_rejections(rejections: list[Rejection], path: Path) -> None:
    names = [field.name for field in dataclasses.fields(Rejection)]
    schema = pa.schema([(name, pa.string()) for name in names])
    rows = [dataclasses.asdict(rejection) for rejection in rejections]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
