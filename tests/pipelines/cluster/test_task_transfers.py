"""What tasks download: the page for a large set, and a real run for a small one."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.profile import read_profile
from kfp_vision.pipelines.cluster.transfers import DataSet, Transfer, task_transfers
from kfp_vision.pipelines.resources import STAGES

pytestmark = pytest.mark.long

PAGE = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
# 50 GB in the store; a network of 25 million weights; a search that looks at 100,000 images.
LARGE = DataSet(
    {"train": 364_000, "validation": 45_500, "test": 45_500}, 109_730, 100e6, trial_images=100_000
)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    found = []
    for shape in ((1, False), (2, False, 2), (1, True)):
        compile_pipeline(file, read_profile("local"), *shape)
        found.append(next(yaml.safe_load_all(file.read_text())))
    return found


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f}" if size >= 5e7 else "< 0.1"


def _row(stage: str, transfer: Transfer) -> str:
    inputs = ", ".join(f"`{name}`" for name in transfer.artifacts)
    return (
        f"| `{stage}` | {inputs} | {_gigabytes(transfer.received)} | {_gigabytes(transfer.sent)} |"
    )


def test_the_page_shows_what_a_set_of_50_gigabytes_takes(pipelines):
    sizes = LARGE.artifact_bytes()
    assert sum(sizes[name] for name in LARGE.splits) == pytest.approx(50e9, rel=1e-3)
    rows: dict[str, Transfer] = {}
    for pipeline in pipelines:
        rows |= task_transfers(pipeline, sizes)
    wanted = [_row(stage, rows[stage]) for stage in STAGES]
    shown = re.findall(r"^\| `\w+` \| .* \| [\d.< ]+ \| [\d.< ]+ \|$", PAGE, re.MULTILINE)
    assert [line for line in shown if not re.search(r"\| [cg]pu \|", line)] == wanted


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def test_a_real_run_copies_what_is_computed(pipelines, finished_run):
    """The launcher of KFP names the artifacts that a task receives and returns."""
    disk: dict[str, int] = {}
    tasks = {}
    for log in (finished_run / "logs").glob("*.log"):
        found = re.search(r"Got executor_input:\n(\{.*?\n\})", log.read_text(), re.DOTALL)
        if found is None:
            continue
        given = json.loads(found[1])
        parts = []
        for side in ("inputs", "outputs"):
            lists = given[side].get("artifacts", {}).values()
            paths = [Path(each["uri"]) for named in lists for each in named["artifacts"]]
            parts.append([path for path in paths if path.exists()])
            disk |= {f"{path.parent.name}/{path.name}": _size(path) for path in parts[-1]}
        tasks[log.stem] = parts
    by_name = {name.rpartition("/")[2]: size for name, size in disk.items()}
    computed = task_transfers(pipelines[0], by_name)
    assert {name.replace("-", "_") for name in tasks} == computed.keys()
    for name, (inputs, outputs) in tasks.items():
        transfer = computed[name.replace("-", "_")]
        assert transfer.received == sum(map(_size, inputs)), name
        files = [path for path in outputs if "etric" not in path.name and path.name != "page"]
        sent = transfer.sent - by_name["page"] * ("page" in {path.name for path in outputs})
        assert sent == sum(map(_size, files)), name


def test_the_sizes_of_a_small_set_are_those_on_disk(finished_run, tmp_path):
    (root,) = (finished_run / ".kfp-vision/artifacts").glob("*/import-dataset")
    info = read_json(DatasetInfo, root / "dataset_info/dataset.json")
    images = [
        len(image)
        for name in info.splits
        for image in open_split(root / name, name)["image"].to_pylist()
    ]
    # Several workers have this artifact; of a search by one its checkpoint is left.
    thin, looked_at = tmp_path, 0
    for name in ("train", "validation"):
        rows = np.arange(0, info.splits[name], 3)
        write_thin_split(root / name, name, rows, thin)
        looked_at += len(rows)
    (state,) = finished_run.glob(".kfp-vision/checkpoints/augmentation-*/search.npz")
    shutil.copyfile(state, thin / "checkpoint.npz")
    weights = _size(state) / 3
    computed = DataSet(info.splits, sum(images) / len(images), weights, looked_at).artifact_bytes()
    for name in info.splits:
        assert computed[name] == pytest.approx(_size(root / name), rel=0.1)
    assert computed["trial_start"] == pytest.approx(_size(thin), rel=0.1)
