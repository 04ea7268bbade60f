"""How much memory may still be used: of the machine, and of every control group around the process.

A container, a batch job and a systemd unit are control groups; what the machine has free says
nothing about them. Version 1 and 2 name their files differently (cgroups(7)).
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

__all__ = ["MIB", "available_memory_bytes"]

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class _Files:
    """What a version calls the limit, the use and, in `memory.stat`, the file cache in the use."""

    limit: str
    use: str
    cache: tuple[str, ...]


# By the type of the file system. The kernel gives the file cache back before it ends a process.
_FILES = {
    "cgroup2": _Files("memory.max", "memory.current", ("inactive_file", "active_file")),
    "cgroup": _Files(
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Returns what this process may still allocate before the machine or a control group is full.

    Args:
        root: Where `/proc` and the mounted control groups lie.
    """
    free = psutil.virtual_memory().available
    for files, folder in _groups(root):
        free = min(free, _free_bytes(files, folder))
    return int(max(0, free))


def _groups(root: Path) -> Iterator[tuple[_Files, Path]]:
    """Yields the control groups that count this process's memory, each before its parents."""
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    # Lines are `number:controllers:path`; version 2 has no controllers there.
    paths = {
        "cgroup" if controllers else "cgroup2": PurePosixPath(path)
        for _, controllers, path in (line.split(":", 2) for line in own)
        if not controllers or "memory" in controllers.split(",")
    }
    for line in mounts:
        mounted, _, described = line.partition(" - ")
        kind, _, options = described.split(" ", 2)
        is_counted = kind == "cgroup2" or "memory" in options.split(",")
        if kind in _FILES and kind in paths and is_counted:
            top, point = mounted.split(" ")[3:5]
            yield from _upwards(_FILES[kind], root / point.lstrip("/"), top, paths[kind])


def _upwards(
    files: _Files, point: Path, top: str, path: PurePosixPath
) -> Iterator[tuple[_Files, Path]]:
    """Yields the group `path` of a hierarchy and those around it, up to the one that is mounted.

    Args:
        files: Of the version.
        point: Where the hierarchy is mounted.
        top: The group that is found there; a container often sees its own alone.
        path: Of the process's group; without an effect where it does not lie below `top`.
    """
    inner = path.relative_to(top) if path.is_relative_to(top) else path
    names = [name for name in inner.parts if name not in ("/", "..")]
    for depth in range(len(names), -1, -1):
        yield files, point.joinpath(*names[:depth])


def _free_bytes(files: _Files, folder: Path) -> float:
    """Returns what a group may still use; infinite where it has no limit."""
    limit = _read(folder / files.limit).strip()
    if not limit.isdecimal():
        return float("inf")
    rows = (line.split() for line in _read(folder / "memory.stat").splitlines())
    cache = sum(int(value) for name, value in rows if name in files.cache)
    return int(limit) - (int(_read(folder / files.use) or 0) - cache)


def _read(path: Path) -> str:
    """Returns a file of a group; empty where the group is not visible from inside a container."""
    try:
        return path.read_text()
    except OSError:
        return ""
