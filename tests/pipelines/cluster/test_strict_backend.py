"""The strict backend refuses what a real one refuses: each of these has failed on one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl
from strict_backend import Backend
from wire_format import Refused

from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.profile import Profile


def component(function: Callable[..., Any]) -> Any:
    return dsl.component(
        function, base_image="python:3", packages_to_install=[], install_kfp_package=False
    )


@component
def write_folders(folder: dsl.Output[dsl.Artifact], count: int) -> list[str]:
    from pathlib import Path

    Path(folder.path, "empty").mkdir(parents=True)
    Path(folder.path, "full").mkdir()
    Path(folder.path, "full", "file").write_text("x")
    folder.metadata["count"] = 3
    return ["x"] * count


@component
def read_folders(folder: dsl.Input[dsl.Artifact], rate: float):
    from pathlib import Path

    found = sorted(path.name for path in Path(folder.path).rglob("*"))
    assert found == ["file", "full"], found
    assert folder.uri.startswith("minio://"), folder.uri
    assert {"display_name", "store_session_info"} < set(folder.metadata), folder.metadata
    assert type(rate) is int, rate


@component
def read_word(word: str):
    assert word == "x"


@component
def log_metric(metrics: dsl.Output[dsl.Metrics], value: float, case: str):
    cases = {"nan": value * float("nan"), "flag": True, "nested": {"a": 1}, "number": value}
    metrics.metadata["value"] = cases[case]


@component
def write_beside(where: str):
    from pathlib import Path

    Path(where).expanduser().joinpath("file").write_text("x")


@pytest.fixture
def run(s3, tmp_path):
    number = iter(range(100))

    def run(define, preempt=None, **arguments) -> Backend:
        package = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(dsl.pipeline(define, name="small"), str(package))
        backend = Backend(tmp_path / f"disks-{next(number)}", s3, preempt=preempt or {})
        backend.run(package, arguments)
        return backend

    return run


def test_files_arrive_and_empty_folders_do_not(run):
    def pipeline(count: int = 2):
        task = write_folders(count=count)
        read_folders(folder=task.outputs["folder"], rate=2.0)
        with dsl.ParallelFor(task.outputs["Output"]) as word:
            read_word(word=word)

    backend = run(pipeline)
    assert len(backend.logs) == 4
    assert not list(Path(backend.disks).glob("*-write-folders"))
    with pytest.raises(Refused, match="A loop must not be empty"):
        run(pipeline, count=0)


def test_metadata_that_would_not_come_back_is_refused(run):
    def pipeline(case: str):
        log_metric(value=1.5, case=case)

    run(pipeline, case="number")
    for case, message in (
        ("nan", "invalid value NaN"),
        ("flag", "value=True"),
        ("nested", "value={'a': 1}"),
    ):
        with pytest.raises(Refused, match=message):
            run(pipeline, case=case)


def test_a_value_that_is_not_in_the_menu_is_refused(s3, tmp_path):
    arguments = {"dataset_uri": "s3://nowhere", "output_uri": "s3://nowhere"}
    compile_pipeline(tmp_path / "pipeline.yaml", Profile(), trial_workers=1)
    backend = Backend(tmp_path / "disks", s3)
    for changed in ({"preset": "slow"}, {"preset": ""}, {"learn_batch_size": 1.5}):
        with pytest.raises(Refused, match="does not match any of the allowed values"):
            backend.run(tmp_path / "pipeline.yaml", arguments | changed)
    with pytest.raises(Refused, match=r"not required by pipeline: \['zebra'\]"):
        backend.run(tmp_path / "pipeline.yaml", arguments | {"zebra": 1})
    assert not backend.logs


def test_inputs_that_no_process_can_start_with_are_refused(run):
    def pipeline(where: str):
        write_beside(where=where)

    with pytest.raises(Refused, match="below 131072 bytes"):
        run(pipeline, where="x" * 2**17)


@pytest.mark.parametrize("where", [".", "~"])
def test_only_the_disk_of_a_task_can_be_written(run, where):
    def pipeline(where: str):
        write_beside(where=where)

    with pytest.raises(Refused, match="exit code 1"):
        run(pipeline, where=where)


@component
def count_files(lines: int):
    import tempfile
    from pathlib import Path

    folder = Path(tempfile.gettempdir())
    print("found", *(path.name for path in folder.iterdir()))
    (folder / "left").write_text("x")
    for number in range(lines):
        print(f"line {number}", flush=True)


def test_a_killed_task_is_tried_again_with_an_empty_disk(run):
    def pipeline(lines: int = 100):
        count_files(lines=lines).set_retry(2, backoff_duration="60s", backoff_factor=2)

    backend = run(pipeline, {"count-files": lambda log: "line 3" in log})
    first, second = backend.logs.values()
    assert "line 3" in first
    assert "line 9" not in first
    assert "line 99" in second
    assert "left" not in second
    assert backend.pauses_s == [60]
