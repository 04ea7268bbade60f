"""Decodes samples on all cores into one staging file; what decides their split stays in memory.

Memory: half of what is available for images that are read, decoded or wait to be written, and about
100 bytes for each image of the source.
"""

import array
import collections
import contextlib
import dataclasses
import errno
import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from kfp_vision.components.data_import.fingerprint import Fingerprint
from kfp_vision.components.data_import.samples import (
    Listing,
    Rejection,
    Sample,
    Target,
    TargetReader,
)
from kfp_vision.components.shared.artifacts.dataset_info import SPLITS
from kfp_vision.components.shared.datasets.decoding import (
    HEAD_BYTES,
    UnreadableImageError,
    count_pixels,
    decode_array,
    decode_file,
)
from kfp_vision.components.shared.datasets.near_duplicates import image_signature
from kfp_vision.components.shared.datasets.store import SCHEMA, SplitWriter, read_batches
from kfp_vision.components.shared.runtime.memory import available_memory_bytes
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.runtime.storage import FileStart
from kfp_vision.components.shared.runtime.storage.reading import map_in_order
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.tasks.objects import COLUMNS

__all__ = ["Staged", "distribute", "schema_of", "stage"]

_STAGING = "staging"  # The file's name where a split's would be.

# Images decoded by one task: enough to make handing over cheap.
_CHUNK_LOCAL, _CHUNK_REMOTE = 32, 4
# Of what a task's samples hold in memory, and of the rows that are written at once: large images
# make smaller chunks. A `binary` array ends at 2 GiB.
_CHUNK_BYTES = 16 * 2**20
# Of the available memory; the rest is for the rows of the writer, and for odd pixels.
_MEMORY_SHARE = 0.5
# While an RGB image is decoded: Pillow's 4, an array, and what is hashed or encoded as PNG.
_BYTES_A_PIXEL = 12
# Threads that wait for a bucket, not for a core.
_REMOTE_THREADS = 64
# Pixels a side that a signature of 8 x 8 needs at most.
_SIGNATURE_SIDE = 512

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """A decoded sample; without its pixels unless they are the content."""

    sample: Sample
    content: bytes
    encoding: str
    shape: tuple[int, int, int]
    sha256: bytes
    source_sha256: bytes
    signature: bytes
    changes: tuple[str, ...]
    peak: int
    target: Target


@dataclasses.dataclass(frozen=True, slots=True)
class _Opened:
    """A sample that is known to be worth reading.

    Attributes:
        sample: As the reader yields it.
        read: Returns the bytes of an image file, or an array.
        num_bytes: What it holds in memory until it is written.
    """

    sample: Sample
    read: Callable[[], bytes | np.ndarray]
    num_bytes: int


@dataclasses.dataclass
class Staged:
    """What is known of the staged images; row i is row i of the staging file.

    Attributes:
        label_sets: Distinct label tuples -> their number.
        labels: Number of the label set of each row.
        splits: Split of each row, None where the source does not say.
        sizes: Height and width of each row, in pixels.
        signatures: 64 bytes a row.
        digests: SHA-256 of the pixels, 32 bytes a row.
        source_digests: The same before 16 bits were scaled; these do not depend on other images.
        is_gray: Whether every image has one channel; like the peak, those without labels do not
            count: they change nothing about the images with labels.
        rejections: What was left out.
        changes: Key of `decoding.CHANGES` -> number of images.
        object_changes: Key of `objects.annotations.CHANGES` -> how often.
        peak: The largest value of 16-bit pixels; 0 without any.
        object_counts: Objects of each row; 0 for tasks without.
    """

    label_sets: dict[tuple[str, ...], int] = dataclasses.field(default_factory=dict)
    labels: "array.array[int]" = dataclasses.field(default_factory=lambda: array.array("i"))
    splits: list[str | None] = dataclasses.field(default_factory=list)
    sizes: "array.array[int]" = dataclasses.field(default_factory=lambda: array.array("i"))
    signatures: bytearray = dataclasses.field(default_factory=bytearray)
    digests: bytearray = dataclasses.field(default_factory=bytearray)
    source_digests: bytearray = dataclasses.field(default_factory=bytearray)
    is_gray: bool = True
    rejections: list[Rejection] = dataclasses.field(default_factory=list)
    changes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    object_changes: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    peak: int = 0
    object_counts: "array.array[int]" = dataclasses.field(default_factory=lambda: array.array("i"))

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.labels)

    def add(self, row: _Row) -> None:
        """Adds what the row says of itself."""
        labels = row.target.labels
        self.labels.append(self.label_sets.setdefault(labels, len(self.label_sets)))
        self.splits.append(row.sample.split)
        self.sizes.extend(row.shape[:2])
        self.signatures += row.signature
        self.digests += row.sha256
        self.source_digests += row.source_sha256
        self.changes.update(row.changes)
        self.object_changes.update(row.target.changes)
        self.object_counts.append(len(row.target.columns.get("box_classes", ())))
        if row.sample.split != "unlabeled":
            self.is_gray = self.is_gray and row.shape[2] == 1
            self.peak = max(self.peak, row.peak)


def schema_of(listing: Listing) -> pa.Schema:
    """Returns the columns of the store: those of every task, then those of this one."""
    names = TASKS[listing.task].columns if listing.task else ()
    return pa.schema([*SCHEMA, *(COLUMNS[name] for name in names)])


def stage(
    samples: Iterable[Sample | Rejection],
    work_dir: Path,
    is_local: bool,
    on_progress: Callable[[int], None],
    white: int,
    schema: pa.Schema = SCHEMA,
) -> Staged:
    """Decodes every sample into `staging.arrow` of `work_dir`, in order.

    Args:
        samples: What the readers yield.
        work_dir: Where the staging file goes.
        is_local: Whether reading keeps a core busy; otherwise more threads wait for the network.
        on_progress: Called with the number of samples and rejections that are done.
        white: The 16-bit value that becomes 255.
        schema: Of the store: the columns of the task come last.
    """
    staged, done = Staged(), 0
    cores = len(usable_cpus())
    threads, size = (cores, _CHUNK_LOCAL) if is_local else (_REMOTE_THREADS, _CHUNK_REMOTE)
    decode = functools.partial(_decode, white=white, turn=threading.Semaphore(cores))
    most_bytes = int(available_memory_bytes() * _MEMORY_SHARE)
    with (
        SplitWriter(work_dir, _STAGING, schema) as writer,
        ThreadPoolExecutor(threads, thread_name_prefix="import") as pool,
    ):
        found = _chunks(samples, size, _content_bytes)
        opened = map_in_order(pool, functools.partial(_map, _open), found, 2 * threads)
        chunks = _chunks(itertools.chain.from_iterable(opened), size, _num_bytes)
        for results in map_in_order(
            pool,
            functools.partial(_map, decode),
            chunks,
            2 * threads,
            lambda chunk: sum(map(_num_bytes, chunk)),
            most_bytes,
        ):
            rows = [row for row in results if isinstance(row, _Row)]
            for row in rows:
                staged.add(row)
            staged.rejections += [row for row in results if isinstance(row, Rejection)]
            for part in _chunks(rows, len(rows), lambda row: len(row.content)):
                writer.write_batch(_batch(part, schema))
            done += len(results)
            on_progress(done)
    return staged


def distribute(
    work_dir: Path,
    staged: Staged,
    splits: np.ndarray,
    classes: Sequence[str],
    schema: pa.Schema = SCHEMA,
) -> tuple[dict[str, int], str]:
    """Moves the staged rows into the files of their splits, with the final labels.

    Args:
        work_dir: Holds `staging.arrow`, and `<split>.arrow` afterwards.
        staged: What `stage` returned.
        splits: Names [N].
        classes: The position of a name is its label.
        schema: As of `stage`.

    Returns:
        Split -> number of images, and the fingerprint of the dataset.
    """
    position = {name: index for index, name in enumerate(classes)}
    label_lists = pa.array(
        [sorted(position[name] for name in names) for names in staged.label_sets],
        pa.list_(pa.int32()),
    )
    keys = ["\x1f".join(sorted(names)) for names in staged.label_sets]
    labels, start, fingerprint = np.frombuffer(staged.labels, np.int32), 0, Fingerprint()
    names, counts = np.unique(splits, return_counts=True)
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(SplitWriter(work_dir, name, schema)) for name in names}
        for batch in read_batches(work_dir, _STAGING):
            rows = slice(start, start + batch.num_rows)
            start += batch.num_rows
            for sha256, label_set, target, split in zip(
                batch["sha256"].to_pylist(),
                labels[rows].tolist(),
                _described(batch, schema.names[len(SCHEMA) :]),
                splits[rows],
                strict=True,
            ):
                fingerprint.add(sha256, keys[label_set] + target, split)
            column = SCHEMA.get_field_index("labels")
            batch = batch.set_column(column, SCHEMA.field(column), label_lists.take(labels[rows]))
            for name in np.unique(splits[rows]):
                writers[name].write_batch(batch.filter(pa.array(splits[rows] == name)))
    (work_dir / f"{_STAGING}.arrow").unlink()
    counted = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return {name: counted[name] for name in SPLITS if name in counted}, fingerprint.hexdigest()


def _described(batch: pa.RecordBatch, columns: list[str]) -> list[str]:
    """Returns what the columns of the task say of each row, as text; empty without any."""
    if not columns:
        return [""] * batch.num_rows
    return [repr(row) for row in batch.select(columns).to_pylist()]


def _map(
    function: Callable[[_In], _Out | Rejection], chunk: list[_In | Rejection]
) -> list[_Out | Rejection]:
    return [each if isinstance(each, Rejection) else function(each) for each in chunk]


def _or_rejection(sample: Sample, work: Callable[[], _Out]) -> _Out | Rejection:
    """Returns what `work` does, or why the sample is left out."""
    path, source = sample.path, sample.source
    try:
        return work()
    except UnreadableImageError as error:
        return Rejection(path, error.code, str(error), source)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        message = "There is no such file in the data root."
        return Rejection(path, "missing_file", message, source)
    except PermissionError as error:
        return Rejection(path, "no_permission", f"The file may not be read: {error}", source)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        message = "The path goes through a link to itself."
        return Rejection(path, "missing_file", message, source)


def _open(sample: Sample) -> _Opened | Rejection:
    """Returns what reads a sample; a file that is no image is left out by its first bytes."""
    return _or_rejection(sample, lambda: _start(sample))


def _start(sample: Sample) -> _Opened:
    content = sample.content
    if isinstance(content, np.ndarray):
        size, pixels = content.nbytes, content.shape[0] * content.shape[1]
        return _Opened(sample, lambda: content, size + pixels * _BYTES_A_PIXEL)
    if isinstance(content, bytes):
        file = FileStart(content[:HEAD_BYTES], len(content), lambda: content)
    else:
        file = content.start(sample.path, HEAD_BYTES)
    pixels = count_pixels(file.head, file.size)
    return _Opened(sample, file.read, file.size + pixels * _BYTES_A_PIXEL)


def _decode(opened: _Opened, white: int, turn: threading.Semaphore) -> _Row | Rejection:
    """Reads and decodes a sample; files are waited for at once, images decoded in turn."""
    sample = opened.sample
    content = _or_rejection(sample, opened.read)
    if isinstance(content, Rejection):
        return content
    read_target = sample.read_target if sample.load_target is None else sample.load_target()
    if isinstance(read_target, Rejection):
        return read_target
    with turn:
        return _or_rejection(sample, lambda: _row(sample, content, read_target, white))


def _row(
    sample: Sample, content: bytes | np.ndarray, read_target: TargetReader | None, white: int
) -> _Row | Rejection:
    if isinstance(content, np.ndarray):
        decoded = decode_array(content, white)
    else:
        decoded = decode_file(content, white)
    target: Target | Rejection = Target(sample.labels, {})
    if read_target is not None:
        height, width = decoded.pixels.shape[:2]
        target = read_target(height, width, decoded.orientation)
    if isinstance(target, Rejection):
        return target
    digest = _pixel_digest(decoded.pixels)
    # Without the pixels: many of these wait to be written.
    return _Row(
        Sample(sample.path, sample.labels, sample.split, b""),
        decoded.content,
        decoded.encoding,
        decoded.pixels.shape,
        digest,
        digest if decoded.wide is None else _pixel_digest(decoded.wide),
        image_signature(_thin(decoded.pixels)),
        decoded.changes,
        decoded.peak,
        target,
    )


def _pixel_digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).reshape(-1).data)
    return digest.digest()


def _thin(pixels: np.ndarray) -> np.ndarray:
    """Returns every k-th pixel of a large image: a signature of 8 x 8 needs no more."""
    step = max(1, min(pixels.shape[:2]) // _SIGNATURE_SIDE)
    return pixels[::step, ::step]


def _batch(rows: list[_Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = {
        "image": [row.content for row in rows],
        "encoding": [row.encoding for row in rows],
        "height": [row.shape[0] for row in rows],
        "width": [row.shape[1] for row in rows],
        "channels": [row.shape[2] for row in rows],
        "labels": [[]] * len(rows),  # Known when all classes are: `distribute` fills them in.
        "path": [row.sample.path for row in rows],
        "sha256": [row.sha256 for row in rows],
        "source_sha256": [row.source_sha256 for row in rows],
        "signature": [row.signature for row in rows],
        **{
            # Images without labels have none of them.
            name: [row.target.columns.get(name) for row in rows]
            for name in schema.names[len(SCHEMA) :]
        },
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema)


def _content_bytes(found: Sample | Rejection) -> int:
    """Returns what is in memory before the sample is read."""
    content = b"" if isinstance(found, Rejection) else found.content
    if isinstance(content, np.ndarray):
        return content.nbytes
    return len(content) if isinstance(content, bytes) else 0


def _num_bytes(found: _Opened | Rejection) -> int:
    return 0 if isinstance(found, Rejection) else found.num_bytes


def _chunks(
    items: Iterable[_In], size: int, num_bytes: Callable[[_In], int]
) -> Iterator[list[_In]]:
    """Yields consecutive items, `size` of them or as many as reach `_CHUNK_BYTES`."""
    chunk: list[_In] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += num_bytes(item)
        if len(chunk) >= size or held >= _CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
