"""Which images were in which split: 32 bytes an image, so that later imports keep them there.

`images.parquet` of a version: one row for each image that its model, or a champion before it, has
known; sorted by digest. N images of a split.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kfp_vision.components.shared.datasets.store import open_split

__all__ = ["GRAVEST_FIRST", "IMAGES_FILE", "KnownImages", "read_known_images"]

IMAGES_FILE = "images.parquet"
# An image that is in two splits belongs to the first of them: what was learned cannot be unlearned.
GRAVEST_FIRST = ("train", "validation", "test")
_DIGEST = "source_sha256"
_SCHEMA = pa.schema([(_DIGEST, pa.binary(32)), ("split", pa.dictionary(pa.int8(), pa.string()))])


@dataclasses.dataclass(frozen=True)
class KnownImages:
    """Images and their splits.

    Attributes:
        table: `source_sha256`, as in the store, and `split`; every image once.
    """

    table: pa.Table = dataclasses.field(default_factory=lambda: _SCHEMA.empty_table())

    def __len__(self) -> int:
        """Returns the number of images."""
        return int(self.table.num_rows)

    def splits_of(self, digests: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns the split of each image, names [N]; empty where it is not known.

        Args:
            digests: binary(32) [N].
        """
        if not len(self) or not len(digests):
            return np.full(len(digests), "", "<U10")
        rows = pc.index_in(digests, self.table[_DIGEST])
        splits = self.table["split"].cast(pa.string()).take(rows).fill_null("")
        return np.array(splits.to_pylist(), "<U10")

    def updated(self, dataset_dir: Path, splits: Iterable[str]) -> "KnownImages":
        """Returns the images of a dataset in the splits of now, and those known before.

        Args:
            dataset_dir: Folder of the dataset.
            splits: Those that it has.
        """
        parts = [
            (open_split(dataset_dir, name)[_DIGEST].combine_chunks(), name)
            for name in GRAVEST_FIRST
            if name in splits
        ]
        parts += [
            (
                self.table[_DIGEST].filter(pc.equal(self.table["split"].cast(pa.string()), name)),
                name,
            )
            for name in GRAVEST_FIRST
        ]
        digests = np.concatenate(
            [np.frombuffer(b"".join(held.to_pylist()), "V32") for held, _ in parts]
        )
        names = np.repeat([name for _, name in parts], [len(held) for held, _ in parts])
        # The first of equal ones: the split of now before that of the past, then the gravest.
        found, first = np.unique(digests, return_index=True)
        digest = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), len(found), [None, pa.py_buffer(found.tobytes())]
        )
        split = pa.array(names[first].tolist(), pa.string()).dictionary_encode()
        return KnownImages(pa.table([digest, split.cast(_SCHEMA.field("split").type)], _SCHEMA))

    def write(self, path: Path) -> None:
        """Writes the file."""
        # Digests are random: nothing compresses them.
        pq.write_table(self.table, path, compression={_DIGEST: "none", "split": "zstd"})


def read_known_images(path: Path) -> KnownImages:
    """Returns the images of a file.

    Raises:
        ValueError: It is not one.
    """
    try:
        return KnownImages(pq.read_table(path).select(_SCHEMA.names).cast(_SCHEMA))
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(
            f"{IMAGES_FILE} must hold digests and splits of images. Received: {path} ({error})"
        ) from error
