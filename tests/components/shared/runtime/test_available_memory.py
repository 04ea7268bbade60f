"""What may be used: of trees of control groups as files, and of a real one."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes

UNLIMITED = {"cgroup": "9223372036854771712", "cgroup2": "max"}
NAMES = {
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
}
MOUNTS = {
    "cgroup": "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
    "cgroup2": "41 31 0:38 {top} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw",
}
POINTS = {"cgroup": "sys/fs/cgroup/memory", "cgroup2": "sys/fs/cgroup"}
LINES = {"cgroup": "4:cpuset,memory:{path}\n3:cpu:/", "cgroup2": "0::{path}"}


def _machine(root: Path, version: str, path: str, top: str = "/") -> Path:
    """Writes what a process sees of its groups; returns where they are mounted."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(LINES[version].format(path=path) + "\n")
    (process / "mountinfo").write_text(MOUNTS[version].format(top=top) + "\n")
    return root / POINTS[version]


def _group(folder: Path, version: str, limit: int | None, used: int, cache: int = 0) -> None:
    limit_file, used_file, cache_name = NAMES[version]
    folder.mkdir(parents=True, exist_ok=True)
    limit_text = UNLIMITED[version] if limit is None else str(limit * MIB)
    (folder / limit_file).write_text(limit_text + "\n")
    (folder / used_file).write_text(f"{used * MIB}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cache_name} {cache * MIB}\nother 2\n")


versions = pytest.mark.parametrize("version", ["cgroup", "cgroup2"])


@versions
def test_the_limit_counts_less_what_is_used_and_the_file_cache_is_not_used(
    version: str, tmp_path: Path
) -> None:
    mount = _machine(tmp_path, version, "/batch/job")
    _group(mount / "batch/job", version, limit=50, used=30, cache=10)
    assert available_memory_bytes(tmp_path) == 30 * MIB


@versions
def test_a_limit_further_up_counts_too(version: str, tmp_path: Path) -> None:
    mount = _machine(tmp_path, version, "/pods/pod/container")
    _group(mount / "pods/pod/container", version, limit=None, used=5)
    _group(mount / "pods/pod", version, limit=100, used=60)
    _group(mount / "pods", version, limit=200, used=190)
    assert available_memory_bytes(tmp_path) == 10 * MIB


@versions
@pytest.mark.parametrize("top", ["/docker/1f", "/"])
def test_a_container_that_sees_its_own_group_alone(version: str, top: str, tmp_path: Path) -> None:
    # The path is that on the host; what is mounted is the container's group.
    mount = _machine(tmp_path, version, "/docker/1f", top)
    _group(mount, version, limit=50, used=20)
    assert available_memory_bytes(tmp_path) == 30 * MIB


@versions
def test_a_group_within_a_container(version: str, tmp_path: Path) -> None:
    mount = _machine(tmp_path, version, "/docker/1f/worker", "/docker/1f")
    _group(mount, version, limit=80, used=20)
    _group(mount / "worker", version, limit=50, used=20)
    _group(mount / "docker/1f", version, limit=1, used=0)
    assert available_memory_bytes(tmp_path) == 30 * MIB


@versions
def test_more_used_than_allowed_leaves_nothing(version: str, tmp_path: Path) -> None:
    mount = _machine(tmp_path, version, "/job")
    _group(mount / "job", version, limit=50, used=60)
    assert available_memory_bytes(tmp_path) == 0


@versions
def test_without_a_limit_the_machine_counts(version: str, tmp_path: Path) -> None:
    mount = _machine(tmp_path, version, "/job")
    _group(mount / "job", version, limit=None, used=60)
    assert 60 * MIB < available_memory_bytes(tmp_path) <= psutil.virtual_memory().total


def test_a_machine_without_groups_counts_as_it_is(tmp_path: Path) -> None:
    assert 60 * MIB < available_memory_bytes(tmp_path) <= psutil.virtual_memory().total


def _writable_hierarchy() -> tuple[Path, str] | None:
    """Returns where a group with a memory limit can be made, and the version."""
    second = Path("/sys/fs/cgroup/cgroup.subtree_control")
    if second.exists() and "memory" in second.read_text().split():
        return second.parent, "cgroup2"
    first = Path("/sys/fs/cgroup/memory")
    return (first, "cgroup") if (first / NAMES["cgroup"][0]).exists() else None


@pytest.fixture
def run_limited(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Runs Python code in a control group that allows 600 MiB, and returns what it prints."""
    found = _writable_hierarchy()
    if found is None:
        pytest.skip("no control groups for memory are mounted")
    group = found[0] / f"kfp-vision-test-{tmp_path.name}-{psutil.Process().pid}"
    try:
        group.mkdir()
        (group / NAMES[found[1]][0]).write_text(str(600 * MIB))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")

    def run(code: str) -> str:
        enter = f"echo $$ > {group / 'cgroup.procs'} && exec {sys.executable} - {tmp_path}"
        done = subprocess.run(["sh", "-c", enter], input=code, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    group.rmdir()


def test_a_real_group_limits_and_its_file_cache_does_not(
    run_limited: Callable[[str], str],
) -> None:
    printed = run_limited(
        """
import sys
from pathlib import Path
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
print(available_memory_bytes())
file = Path(sys.argv[1]) / "cached"
file.write_bytes(bytes(100 * MIB))
content = file.read_bytes()
del content
print(available_memory_bytes())
held = b"1" * (200 * MIB)
print(available_memory_bytes())
"""
    )
    start, after_file, after_holding = (int(line) / MIB for line in printed.split())
    assert 400 < start < 600
    assert after_file == pytest.approx(start, abs=40)
    assert after_holding == pytest.approx(after_file - 200, abs=40)


def test_images_beyond_half_of_a_real_group_are_not_held(
    run_limited: Callable[[str], str], digits_dir: Path
) -> None:
    # 1000 images: 16 MiB at 128 px in gray, 750 MiB at 512 px in colour; the machine has more.
    printed = run_limited(
        f"""
from pathlib import Path
from kfp_vision.components.shared.datasets.loader import ImageSource
for side, channels in ((128, 1), (512, 3)):
    source = ImageSource(Path({str(digits_dir)!r}), "train", (side, side), channels)
    print(source.in_memory)
"""
    )
    assert printed.split() == ["True", "False"]


def test_memory_is_promised_once_before_it_is_taken(
    run_limited: Callable[[str], str], digits_dir: Path
) -> None:
    # 150 MiB each, of less than 600: half of it, then half of the rest, holds one of them.
    printed = run_limited(
        f"""
from pathlib import Path
from kfp_vision.components.shared.datasets.loader import ImageSource
sources = []
for _ in range(3):
    sources.append(ImageSource(Path({str(digits_dir)!r}), "train", (396, 396), 1))
    print(sources[-1].in_memory)
"""
    )
    assert printed.split() == ["True", "True", "False"]
