"""Tasks in containers: what they may do, that they end with the run, and that results are equal."""

import json
import os
import signal
import subprocess

import pytest
from scenes import write_scenes
from waiting import wait_until

from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.pipelines.local.container_settings import (
    ContainerSettings,
    Limits,
    container_settings,
)
from kfp_vision.pipelines.local.containers import check_engine, containers_of, run_container
from kfp_vision.pipelines.parameters import Parameters

pytestmark = pytest.mark.docker

MIB = 2**20


@pytest.fixture
def settings(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("out", "data", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "image").write_bytes(b"pixels")
    data = str(tmp_path / "data")
    return ContainerSettings(
        output=str(tmp_path / "out"),
        champions="",
        inputs={data: data},
        variables=["OMP_NUM_THREADS"],
        network="none",
        working_dir=str(tmp_path),
        cpus=usable_cpus()[:1],
        memory_bytes=512 * MIB,
        gpu=False,
    )


@pytest.fixture
def run(settings, tmp_path, capfd):
    """Runs a shell command in a container; returns its code and its lines."""

    def shell(command):
        code = run_container(settings, tmp_path / "scratch", ["sh", "-c", command], {"TASK": "a"})
        return code, capfd.readouterr().out.splitlines()

    return shell


def containers_for(engine, output):
    return engine.containers.list(all=True, filters={"label": f"kfp-vision.output={output}"})


def test_a_container_has_no_rights_no_network_and_the_resources_it_is_given(run):
    code, lines = run(
        "id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /sys/class/net; nproc;"
        " stat -f -c '%b %S' /dev/shm; cat /sys/fs/cgroup/memory.max"
        " /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; echo $TASK $OMP_NUM_THREADS"
    )
    user, capabilities, privileges, network, cpus, shm, memory, variables = lines
    assert user == str(os.getuid())
    assert capabilities.split()[1].strip("0") == ""
    assert privileges.split()[1] == "1"
    assert (network, cpus) == ("lo", "1")
    blocks, size = map(int, shm.split())
    assert blocks * size == 256 * MIB
    assert int(memory) == 512 * MIB
    assert variables == "a 1"


def test_only_the_output_and_temporary_files_can_be_written_and_the_caller_owns_them(run, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    code, lines = run(
        f"cat {data}/image; pwd; touch {data}/x; touch /opt/x; touch $TMPDIR/t; touch /tmp/h;"
        f" echo made > {out}/file"
    )
    assert code == 0
    assert lines[0] == f"pixels{tmp_path}"
    assert sum("Read-only file system" in line for line in lines) == 2
    made = out / "file"
    assert made.read_text() == "made\n"
    assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["t"]


def test_a_user_who_is_not_root_owns_what_a_task_writes(run, tmp_path, monkeypatch):
    (tmp_path / "out").chmod(0o777)
    for name, value in (("getuid", 12345), ("getgid", 23456), ("getgroups", [23456, 34567])):
        monkeypatch.setattr(os, name, lambda value=value: value)
    assert run(f"id -u; id -G; touch {tmp_path}/out/file") == (0, ["12345", "23456 34567"])
    made = (tmp_path / "out" / "file").stat()
    assert (made.st_uid, made.st_gid) == (12345, 23456)


def test_a_task_reads_a_bucket_and_one_of_a_local_run_does_not(engine, bucket, tmp_path, capfd):
    (tmp_path / "file").write_bytes(b"pixels")
    (tmp_path / "out").mkdir()
    upload(tmp_path / "file", f"{bucket}/file")
    code = (
        "import sys; from kfp_vision.components.shared.runtime.storage import open_folder as o;"
        "print(o(sys.argv[1])[0].read('file'))"
    )
    for dataset, expected in ((bucket, 0), (str(tmp_path), 1)):
        parameters = Parameters(dataset_uri=dataset, output_uri=str(tmp_path / "out"))
        settings = container_settings(parameters, Limits(memory_gib=1), gpu=False)
        command = ["timeout", "60", "python", "-c", code, bucket]
        scratch = tmp_path / f"scratch {expected}"
        scratch.mkdir()
        assert (run_container(settings, scratch, command, {}) > 0) == bool(expected)
        assert ("b'pixels'" in capfd.readouterr().out) == (not expected)


def test_every_line_arrives_and_the_code_is_that_of_the_task(run, engine, settings):
    assert run("printf 'gr\\303\\274n\\nred'; exit 7") == (7, ["grün", "red"])
    mixed = "for i in $(seq 200); do printf a; printf b >&2; echo; done"
    assert run(mixed) == (0, ["ab"] * 200)
    code, lines = run("seq 20000")
    assert (code, lines) == (0, [str(number) for number in range(1, 20001)])
    assert containers_for(engine, settings.output) == []


def test_a_task_that_needs_too_much_memory_is_told_so(run):
    code, lines = run("python -c 'print(len(b\"x\" * 2**30))'")
    assert code != 0
    assert lines[-1] == (
        "The task needs more memory than its container may use, 512 MiB. `--memory-gib` sets the "
        "limit."
    )


def test_an_image_that_is_not_there_is_named_with_the_command_that_builds_it(engine, monkeypatch):
    monkeypatch.setattr("kfp_vision.pipelines.local.containers.image_name", lambda _: "other:1")
    with pytest.raises(
        RuntimeError, match="Received: no other:1 .* `make images TARGETS=cpu` builds it"
    ):
        check_engine()


def test_what_a_killed_run_has_left_is_removed_before_the_next_one(engine, settings):
    labels = {"kfp-vision.output": settings.output}
    image = engine.images.list(filters={"reference": "kfp-vision/python-cpu"})[0]
    left = engine.containers.run(image, ["sleep", "600"], detach=True, labels=labels)
    other = engine.containers.create(image, ["true"], labels={"kfp-vision.output": "/other"})
    try:
        with containers_of(settings.output):
            assert containers_for(engine, settings.output) == []
        assert containers_for(engine, "/other") == [other]
    finally:
        for container in (other, *containers_for(engine, settings.output)):
            container.remove(force=True)
    assert left.id not in [each.id for each in engine.containers.list(all=True)]


@pytest.fixture
def start(command, digits_folder, small_model, tmp_path):
    """Starts a run of many epochs in containers."""
    started = []

    def run(output, *options):
        arguments = ["--dataset-uri", digits_folder, "--output", output, *options]
        arguments += ["--runner", "docker", "--architecture", small_model, "--epochs", "80"]
        process = subprocess.Popen(
            [*command, "run", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # What the caller of the tests ignores, SIGINT behind `&`, is heard.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_containers_end_with_their_launcher(engine, start, tmp_path, sent):
    output = tmp_path / "out"
    launcher = start(output)
    assert wait_until(lambda: containers_for(engine, output), 300)
    launcher.send_signal(sent)
    launcher.wait(timeout=60)
    assert wait_until(lambda: not containers_for(engine, output), 30)
    status = json.loads((output / "run.json").read_text())["status"]
    assert status == ("stopped" if sent == signal.SIGINT else "running")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "instance_segmentation"])
def test_the_results_are_those_of_processes_bit_for_bit(
    task, engine, kfp_vision, digits_folder, small_model, tmp_path
):
    source, architecture = digits_folder, small_model
    if task != "multiclass":
        counts = {"train": 48, "val": 16, "test": 16}
        source, architecture = write_scenes(tmp_path / "scenes", counts), "separable"
    options = ["--dataset-uri", source, "--task", task, "--architecture", architecture]
    options += ["--epochs", 2, "--preset", "fast", "--no-learn-batch-size"]
    options += ["--no-search-augmentation"]
    results = []
    for runner in ("subprocess", "docker"):
        output = tmp_path / runner
        answer = kfp_vision("run", *options, "--output", output, "--runner", runner)
        assert (output / "report.json").exists(), answer.stdout + answer.stderr
        report = json.loads((output / "report.json").read_text())
        results.append((report["metrics"], (output / "predictions.parquet").read_bytes()))
        owners = {path.stat().st_uid for path in output.rglob("*")}
        assert owners == {os.getuid()}
    assert results[0] == results[1]
