"""The `sources` artifact: which files a run has read, by 8 bytes each, to count what is new later.

Of more than 2^20 files the smallest hashes stay, a random sample: shares are then estimates.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.json_files import read_json, write_json

__all__ = [
    "HASHES_FILE",
    "SOURCES_FILE",
    "SourceFiles",
    "changed_share",
    "file_hash",
    "read_source_files",
    "source_files",
    "write_source_files",
]

SOURCES_FILE, HASHES_FILE = "sources.json", "files.u64"
_KEPT = 2**20


@dataclasses.dataclass(frozen=True)
class _Sources:
    versions: dict[str, str]
    num_files: int


@dataclasses.dataclass(frozen=True)
class SourceFiles:
    """What lay behind the URIs of a run.

    Attributes:
        versions: Name -> version of what a URI leads to, of `list_sources`; and `dataset_uri`.
        num_files: N of the dataset and of the images without labels.
        hashes: The smallest ones of N, uint64 [min(N, 2^20)], ascending.
    """

    versions: dict[str, str]
    num_files: int
    hashes: np.ndarray

    @property
    def limit(self) -> int:
        """The hash up to which all are kept."""
        return 2**64 - 1 if self.num_files <= len(self.hashes) else int(self.hashes[-1])

    def holds(self, digest: int) -> bool:
        """Returns whether the hash of a file is one that is kept."""
        place = int(np.searchsorted(self.hashes, np.uint64(digest)))
        return place < len(self.hashes) and int(self.hashes[place]) == digest

    def lacks(self, digest: int) -> bool:
        """Returns whether a file was not there; of one above the limit nothing is known."""
        return digest <= self.limit and not self.holds(digest)


def file_hash(path: str, version: str) -> int:
    """Returns a number below 2^64 that changes with the path and with the version of a file."""
    content = f"{path}\0{version}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def source_files(versions: dict[str, str], hashes: Iterable[int], kept: int = _KEPT) -> SourceFiles:
    """Returns what lies behind the URIs of a run.

    Args:
        versions: As of `SourceFiles`.
        hashes: Of `file_hash`, of all files.
        kept: How many hashes stay.
    """
    found = np.unique(np.fromiter(hashes, np.uint64))
    return SourceFiles(versions, len(found), found[:kept])


def changed_share(before: SourceFiles, now: SourceFiles) -> float:
    """Returns the files that are new, changed or gone, as a share of those that are there now.

    max(|now - before|, |before - now|) / |now|: a file that has changed counts once. Samples are
    compared up to the hash below which both are complete. 1 where all files are gone.

    Reference: Bar-Yossef et al., 2002, "Counting distinct elements in a data stream", section 3.
    """
    limit = min(before.limit, now.limit)
    known, found = (each.hashes[each.hashes <= limit] for each in (before, now))
    common = len(np.intersect1d(known, found, assume_unique=True))
    changed = max(len(found), len(known)) - common
    return changed / len(found) if len(found) else float(changed > 0)


def write_source_files(sources: SourceFiles, folder: Path) -> None:
    """Writes the artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HASHES_FILE).write_bytes(sources.hashes.astype("<u8").tobytes())
    write_json(_Sources(sources.versions, sources.num_files), folder / SOURCES_FILE)


def read_source_files(folder: Path) -> SourceFiles:
    """Reads the artifact."""
    facts = read_json(_Sources, folder / SOURCES_FILE)
    return SourceFiles(facts.versions, facts.num_files, np.fromfile(folder / HASHES_FILE, "<u8"))
