"""What the stages hand on: read back from the folders of a small pipeline."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import psutil
from storage_servers import READER_KEYS

from kfp_vision.components.shared.artifacts.cost import COST_FILE, START_UP, StageCost
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.report.records import (
    ReportWarning,
    Section,
    StageReport,
    costs_before,
    hand_on,
    read_stages,
    write_stage_report,
)
from kfp_vision.components.shared.runtime.processes import stage_seconds
from kfp_vision.components.shared.runtime.storage import kept_folder, mirrored


@dataclasses.dataclass(frozen=True)
class Folder:
    """An artifact as a component gets it."""

    path: str
    uri: str


def stage(root: Path, name: str, *inputs: Folder, recipe: str = "", seconds: float = 1.0) -> Folder:
    """Runs a stage that sees as many images as it has inputs."""
    folder = root / name
    folder.mkdir()
    write_json(StageCost(name, seconds, len(inputs)), folder / COST_FILE)
    section = Section(name, name.title(), f"{name}/report.html", {"of": name})
    report = StageReport({name: len(inputs)}, [ReportWarning(name, "Look.", 2, "data")], [section])
    write_stage_report(report, folder)
    if recipe:
        (folder / "recipe.json").write_text(recipe)
    output = Folder(str(folder), f"gs://bucket/{name}")
    hand_on(output, name, *inputs)
    return output


def test_every_stage_is_handed_on_once_in_the_order_of_the_pipeline(tmp_path: Path) -> None:
    data = stage(tmp_path, "data")
    probe = stage(tmp_path, "probe", data)
    # Two stages of one input, and one that reads both.
    teachers = [stage(tmp_path, f"teacher-{number}", probe) for number in (1, 2)]
    student = stage(tmp_path, "student", *teachers)
    records = read_stages(Path(student.path))
    assert [record.artifact for record in records] == [
        *("data", "probe", "teacher-1", "teacher-2", "student")
    ]
    assert [record.uri for record in records[:2]] == ["gs://bucket/data", "gs://bucket/probe"]
    assert [records[-1].cost.name, records[-1].cost.images_seen] == ["student", 2]
    assert records[-1].report.warnings == [ReportWarning("student", "Look.", 2, "data")]
    assert records[0].report.sections == [
        Section("data", "Data", "data/report.html", {"of": "data"})
    ]


def test_the_stages_of_a_process_share_its_seconds(tmp_path: Path) -> None:
    began = psutil.Process().create_time()
    names = ("first", "second", "third")
    last = [stage(tmp_path, name, seconds=0) for name in names][-1]
    spent = [read_stages(tmp_path / name)[-1].cost.seconds for name in names]
    assert min(spent) > 0
    assert sum(spent) + stage_seconds() <= time.time() - began
    resumed = stage(tmp_path, "resumed", last, seconds=1e9)
    assert read_stages(Path(resumed.path))[-1].cost.seconds == 1e9
    assert read_json(StageCost, tmp_path / "first" / COST_FILE).seconds == 0


def test_the_first_stage_of_a_process_begins_with_it() -> None:
    code = (
        "from kfp_vision.components.shared.runtime.processes import end_stage, stage_seconds;"
        "raise SystemExit(end_stage() <= stage_seconds())"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_task_knows_what_was_spent_before_it_and_by_its_start(tmp_path: Path) -> None:
    data = stage(tmp_path, "data")
    probe = stage(tmp_path, "probe", data)
    assert [cost.name for cost in costs_before(data, probe)] == ["data", "probe", START_UP]


def test_the_recipe_is_handed_on_until_a_stage_writes_another(tmp_path: Path) -> None:
    first = stage(tmp_path, "first", recipe="one")
    second = stage(tmp_path, "second", first, recipe="two")
    third = stage(tmp_path, "third", second)
    recipes = [Path(each.path, "recipe.json").read_text() for each in (first, second, third)]
    assert recipes == ["one", "two", "two"]


def test_a_checkpoint_that_the_bucket_lacks_is_a_warning_of_its_stage(
    tmp_path, s3, seaweedfs, s3_environment
) -> None:
    s3_environment(seaweedfs.url, READER_KEYS)
    with mirrored(s3) as root:
        folder = kept_folder(root / "run")
        folder.mkdir()
        (folder / "state.npz").touch()
    data = stage(tmp_path, "data")
    probe = stage(tmp_path, "probe", data)
    warnings = [record.report.warnings for record in read_stages(Path(probe.path))]
    assert [[each.code for each in of_stage] for of_stage in warnings] == [
        ["data", "checkpoints"],
        ["probe"],
    ]
    assert f"The last state of {s3}/run is not in the bucket" in warnings[0][1].message


def test_what_no_component_wrote_has_no_stages(tmp_path: Path) -> None:
    assert read_stages(tmp_path) == []
