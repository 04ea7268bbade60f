"""Tables in Parquet, with paths of images or with the images in them as Hugging Face writes them.

Images are streamed. Memory holds what Parquet reads at once: a page, which is no more than a row
group; Hugging Face writes 100 images into one.
"""

import json
from collections.abc import Collection, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from kfp_vision.components.data_import.readers.tables import HEAD_ROWS, Rows, Table, TableError
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["open_parquet"]

_MAGIC = b"PAR1"
_IMAGES_AT_ONCE = 8
_TEXT_COLUMNS = ("path", "label", "labels", "split")


def open_parquet(folder: Folder, name: str) -> Table:
    """Opens a Parquet file.

    Raises:
        TableError: It is not Parquet, or damaged.
    """
    with folder.open(name) as file:
        parquet = _open(file, name)
        schema = parquet.schema_arrow
        images = tuple(field.name for field in schema if _holds_images(field))
        columns = [field.name for field in schema if field.name not in images]
        head: list[dict[str, Any]] = []
        for batch in _batches(parquet, columns, HEAD_ROWS, name):
            head = batch.to_pylist()
            break

    def rows(wanted: Collection[str]) -> Rows:
        with folder.open(name) as file:
            number = 0
            for batch in _batches(_open(file, name), list(wanted), 2**12, name):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row

    def read_images(column: str) -> Iterator[tuple[bytes | None, str | None]]:
        with folder.open(name) as file:
            for batch in _batches(_open(file, name), [column], _IMAGES_AT_ONCE, name):
                for cell in batch.column(0).to_pylist():
                    is_pair = isinstance(cell, dict)
                    yield (cell["bytes"], cell.get("path")) if is_pair else (cell, None)

    def read_paths(column: str) -> set[str]:
        kind = schema.field(column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
            return set()
        with folder.open(name) as file:
            batches = _batches(_open(file, name), [f"{column}.path"], 2**12, name)
            cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
            return {cell["path"] for cell in cells if cell and cell["path"]}

    names = _class_names(schema)
    return Table(name, columns, True, head, rows, names, images, read_images, read_paths)


def _open(file: IO[bytes], name: str) -> pq.ParquetFile:
    """Opens the file and raises TableError where it is not a whole Parquet file.

    Arrow reports that by exceptions of its own or an OSError without a number; one with a number
    is of the storage and stays as it is.
    """
    start = file.read(len(_MAGIC))
    size = file.seek(0, 2)
    file.seek(max(0, size - len(_MAGIC)))
    if start != _MAGIC or file.read() != _MAGIC:
        raise TableError(
            f"A Parquet file must begin and end with {_MAGIC.decode()}. Received: {name} of {size} "
            "bytes, which is broken or another format. Copy it again."
        )
    file.seek(0)
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _batches(
    parquet: pq.ParquetFile, columns: list[str], size: int, name: str
) -> Iterator[pa.RecordBatch]:
    try:
        yield from parquet.iter_batches(batch_size=size, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return TableError(f"A Parquet file must be whole. Received: {name}: {error}. Copy it again.")


def _holds_images(field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return any(part.name == "bytes" and _is_binary(part.type) for part in field.type)
    # Some writers store text as bytes.
    return _is_binary(field.type) and field.name.lower() not in _TEXT_COLUMNS


def _is_binary(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns column -> names of its classes, from the features that Hugging Face writes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    found = {}
    for column, feature in features.items():
        # A list of labels is [feature], or {"feature": feature} under several names.
        inner = feature[0] if isinstance(feature, list) and feature else feature
        inner = inner.get("feature", inner) if isinstance(inner, dict) else {}
        if isinstance(inner, dict) and isinstance(inner.get("names"), list):
            found[column] = [str(class_name) for class_name in inner["names"]]
    return found
