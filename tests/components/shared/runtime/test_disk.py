"""A full disk is named with its amounts, whoever notices it; no other error is touched."""

import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from kfp_vision.components.shared.runtime.disk import (
    explain_full_disk,
    explains_full_disk,
    is_disk_full,
)
from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.components.shared.runtime.storage.errors import explained

ROOT = Path(__file__).parents[4]

_FULL = """
import subprocess, sys
from pathlib import Path
from kfp_vision.components.shared.runtime.disk import explain_full_disk
disk = Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]).returncode:
    sys.exit(77)

def write_bytes(path):
    path.write_bytes(bytes(2**20))

def write_hdf5(path):
    import h5py, numpy
    with h5py.File(path, "w") as file:
        file["a"] = numpy.zeros(2**17)

def write_parquet(path):
    import pyarrow, pyarrow.parquet
    table = pyarrow.table({"a": list(range(2**17))})
    pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False)

def write_numpy(path):
    import numpy
    with path.open("wb") as file:
        numpy.savez(file, a=numpy.zeros(2**17))

for write in (write_bytes, write_hdf5, write_parquet, write_numpy):
    try:
        with explain_full_disk(disk / "not made yet"):
            write(disk / "file")
    except OSError as error:
        print(f"{write.__name__}: {error}")
    (disk / "file").unlink(missing_ok=True)
"""


def test_every_library_that_fills_a_disk_is_understood(tmp_path):
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", _FULL, tmp_path / "disk"]
    if os.geteuid() != 0:
        command.insert(1, "--map-root-user")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("a disk of our own cannot be mounted here")
    lines = run.stdout.splitlines()
    assert len(lines) == 4, run.stdout + run.stderr
    for line in lines:
        assert re.search(r"Received: 0\.\d of 0\.1 MiB left\. Free space", line)
        assert line.endswith(f": '{tmp_path / 'disk'}'")


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), True),
        (
            RuntimeError("Unable to flush (errno = 28, error message = 'No space left on device')"),
            True,
        ),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (ValueError("There is no space in the name."), False),
        (StorageError("Cannot reach 's3://b/k': No space left on device."), False),
    ],
)
@pytest.mark.parametrize("depth", [0, 2])
def test_only_a_full_disk_is_explained(tmp_path, error, is_full, depth):
    def fail(depth: int) -> None:
        if not depth:
            raise error
        try:
            fail(depth - 1)
        except Exception as cause:
            raise RuntimeError(f"Step {depth} failed.") from cause

    def run(output_dir: Path) -> None:
        fail(depth)

    with pytest.raises(Exception) as caught:  # noqa: PT011
        explains_full_disk("output_dir")(run)(tmp_path / "new" / "folder")
    assert is_disk_full(caught.value) == is_full
    assert ("MiB left" in str(caught.value)) == is_full


def test_a_bucket_that_is_full_is_an_error_of_the_bucket(tmp_path):
    answer = {"Error": {"Code": "InternalError", "Message": os.strerror(errno.ENOSPC)}}
    with (
        pytest.raises(StorageError, match="Cannot reach 's3://bucket/key': .*No space left"),
        explain_full_disk(tmp_path),
        explained("s3://bucket/key", "s3"),
    ):
        raise ClientError(answer, "PutObject")


def test_nothing_happens_when_nothing_fails(tmp_path):
    with explain_full_disk(tmp_path):
        pass
    assert explains_full_disk("output_dir")(lambda output_dir: output_dir.name)(tmp_path)


def _verbs():
    """Yields what component files call: the verbs of the stages."""
    for path in sorted((ROOT / "components").glob("*/component.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.ImportFrom) and path.parent.name in name:
                module = ROOT / (name.replace("kfp_vision.", "").replace(".", "/") + ".py")
                for alias in node.names:
                    if module.is_file() and alias.name[0].islower():
                        yield pytest.param(
                            module, alias.name, id=f"{path.parent.name}.{alias.name}"
                        )


@pytest.mark.parametrize(("module", "verb"), _verbs())
def test_every_stage_that_writes_a_folder_explains_a_full_disk(module, verb):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    written = {"output_dir", "checkpoint_dir"} & {each.arg for each in functions[verb].args.args}
    named = {
        each.value
        for decorator in functions[verb].decorator_list
        if isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func) == explains_full_disk.__name__
        for each in decorator.args
        if isinstance(each, ast.Constant)
    }
    assert named == written
