"""Some image files of a source, and what it says of them, as the import has it."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from kfp_vision.components.data_import.samples import Listing, Sample
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.data_import.staging import distribute, schema_of, stage
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.source_files import file_hash
from kfp_vision.components.shared.runtime.identity import file_versions
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import Folder, open_folder

__all__ = ["import_files", "labelled_files"]


def labelled_files(
    uri: str, dataset_format: str, unlabeled_uri: str, follow_links: bool
) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yields the path, the labels and the `file_hash` of each image file of a dataset.

    Images without a label are among them, where the source says that they show none of the classes.
    None of a set whose images lie in tables or arrays: its files say nothing of single images.

    Args:
        uri: As of `source_version.list_source_files`.
        dataset_format: The same.
        unlabeled_uri: The same.
        follow_links: The same.
    """
    listing, *_ = list_source(uri, dataset_format, unlabeled_uri, follow_links)
    samples = _labelled(listing)
    for path, digest in _hashes(uri, samples).items():
        yield path, samples[path].labels, digest


def import_files(
    uri: str,
    dataset_format: str,
    unlabeled_uri: str,
    follow_links: bool,
    task: str,
    white: int,
    choose: Callable[[Mapping[str, int]], Mapping[str, str]],
    output_dir: Path,
) -> DatasetInfo | None:
    """Writes `<split>.arrow` of the chosen images; None where none is chosen, or can be read.

    Args:
        uri: As of `source_version.list_source_files`.
        dataset_format: The same.
        unlabeled_uri: The same.
        follow_links: The same.
        task: Of images whose targets lie in them.
        white: The 16-bit value that becomes 255.
        choose: Path -> `file_hash` of all image files; returns path -> split of some, whatever
            splits are called. There are none where images lie in tables or arrays.
        output_dir: Of the splits.

    Raises:
        ValueError: The source cannot be imported, or its annotations are not for the task.
        StorageError: It does not exist or cannot be reached.
    """
    listing, source_format, is_local = list_source(
        uri, dataset_format, unlabeled_uri, follow_links, task
    )
    if listing.task != task:
        raise ValueError(
            f"The dataset must have annotations for {task}. Received: labels of whole images in "
            f"{uri!r}."
        )
    samples, schema = _labelled(listing), schema_of(listing)
    chosen = choose(_hashes(uri, samples))
    named = [dataclasses.replace(samples[path], split=chosen[path]) for path in sorted(chosen)]
    with Progress("read images", len(named), "images") as progress:
        staged = stage(named, output_dir, is_local, progress.update, white, schema)
    if not len(staged):
        return None
    splits, classes = np.array(staged.splits), listing.class_order
    _, fingerprint = distribute(output_dir, staged, splits, classes, schema)
    height, width = np.median(np.frombuffer(staged.sizes, np.int32).reshape(-1, 2), axis=0)
    return DatasetInfo(
        task=task,
        classes=[*classes],
        splits=dict(collections.Counter(splits.tolist())),
        channels=1 if staged.is_gray else 3,
        median_height=int(height),
        median_width=int(width),
        fingerprint=fingerprint,
        source_uri=uri,
        source_format=source_format,
        split_origin={},
        rejected=dict(collections.Counter(row.code for row in staged.rejections)),
        notes=[],
        white_level=white,
        keypoint_names=[*listing.keypoint_names],
        keypoint_swaps=[[*pair] for pair in listing.keypoint_swaps],
        most_objects=max(staged.object_counts),
    )


def _labelled(listing: Listing) -> dict[str, Sample]:
    """Returns path -> sample of the image files; none where images lie in tables or arrays."""
    samples = {}
    for sample in listing.samples:
        if isinstance(sample, Sample) and not isinstance(sample.content, Folder):
            break
        if isinstance(sample, Sample) and sample.split != "unlabeled":
            samples[sample.path] = sample
    return samples


def _hashes(uri: str, paths: Iterable[str]) -> dict[str, int]:
    """Returns path -> `file_hash`, as `source_version.list_source_files` has it."""
    names = [*paths]
    versions = file_versions(open_folder(uri)[0], names) if names else {}
    return {path: file_hash(f"dataset/{path}", version) for path, version in versions.items()}
