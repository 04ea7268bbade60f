"""An output in a bucket gets what a local one gets, and the command prints the same."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from storage_servers import KEYS

from kfp_vision.components.shared.runtime.storage import open_folder, upload
from kfp_vision.pipelines.local.closing_lines import print_summary
from kfp_vision.pipelines.local.run_record import RunResult, StageResult, local_folder, write_record

METRIC = {"accuracy": {"value": 0.912, "ci95": [0.9, 0.92]}}
EXPORT = {"path": "model.onnx", "size_bytes": 2**20, "latency_ms": 0.5, "passed": True}
REPORT = {
    "task": "binary",
    "status": "passed",
    "reason": "",
    "metrics": {"test": METRIC, "validation": METRIC, "primary": "accuracy"},
    "baselines": {"linear": METRIC},
    "exports": [
        {**EXPORT, "format": "onnx", "metrics": {"accuracy": 0.911}},
        {**EXPORT, "format": "tflite", "metrics": {}, "passed": False},
    ],
    "warnings": [{"code": "export_failed", "message": "tflite: [no] luck.", "count": 1}],
    "cost": {"plain_training_s": 1.0, "total_s": 2.0, "multiple": 2.0},
}


@pytest.fixture
def output(request, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = str(tmp_path / "out")
    if request.param == "s3":
        uri = f"{request.getfixturevalue('s3')}/out"
    local_folder(uri).mkdir(parents=True, exist_ok=True)
    return uri


def printed(result: RunResult, output_uri: str) -> str:
    text = io.StringIO()
    print_summary(result, output_uri, Console(file=text, width=200))
    return text.getvalue()


def publish(tmp_path, output, **changes):
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**REPORT, **changes}))
    upload(file, f"{output}/report.json")


@pytest.mark.parametrize("output", ["local"], indirect=True)
def test_the_headline_says_that_the_training_was_cut(tmp_path, output):
    result = RunResult("1", "now", {}, "passed", 10.0)
    publish(tmp_path, output, shortfall="only 2 of 340 steps: too few minutes")
    headline = printed(result, output).splitlines()[0].strip()
    assert headline.endswith("passed, only 2 of 340 steps: too few minutes")
    publish(tmp_path, output, shortfall="")
    assert printed(result, output).splitlines()[0].strip().endswith("passed")


@pytest.mark.parametrize("output", ["local", "s3"], indirect=True)
def test_the_table_is_printed(tmp_path, output):
    publish(tmp_path, output)
    upload(tmp_path / "report.json", f"{output}/model/model.json")
    text = printed(RunResult("1", "now", {}, "passed", 10.0), f"{output}/")
    for words in (
        "0.9120",
        "0.9000 .. 0.9200",
        "baseline linear",
        "onnx file, 1.0\N{NO-BREAK SPACE}MB, 0.5 ms",
    ):
        assert words in text
    assert "tflite: [no] luck." in text
    for name in ("report.html", "model", "recipe.json", "logs"):
        assert f" {output}/{name}\n" in text


@pytest.mark.parametrize("output", ["local", "s3"], indirect=True)
def test_the_last_line_is_the_reason_of_a_rejection(tmp_path, output):
    publish(tmp_path, output, status="rejected", reason="It [is] no good.", exports=[])
    reason = "rejected: It [is] no good."
    text = printed(RunResult("1", "now", {}, "rejected", 10.0, reason=reason), output)
    assert text.splitlines()[-1] == reason
    assert "Models" not in text


@pytest.mark.parametrize("output", ["local", "s3"], indirect=True)
def test_the_record_and_the_logs_arrive(output):
    write_record(RunResult("1", "now", {}), output)
    folder = open_folder(output)[0]
    assert json.loads(folder.read("run.json"))["status"] == "running"
    logs = local_folder(output) / "logs"
    logs.mkdir()
    (logs / "train-model.log").write_text("all of it")
    stage = StageResult("train-model", "done", 9.0, 4.0)
    write_record(RunResult("1", "now", {}, "passed", 8.0, [stage]), f"{output}/")
    record = json.loads(folder.read("run.json"))
    assert (record["status"], record["orchestration_share"]) == ("passed", 0.5)
    assert record["stages"][0]["name"] == "train-model"
    assert folder.read("logs/train-model.log") == b"all of it"


def test_a_record_that_a_full_disk_cuts_off_leaves_the_one_before(tmp_path):
    write_record(RunResult("1", "now", {}), str(tmp_path))
    code = (
        "import resource, signal, sys;"
        "from kfp_vision.pipelines.local.run_record import RunResult, write_record;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "write_record(RunResult('1', 'now', {}, 'passed', reason='long ' * 100), sys.argv[1])"
    )
    end = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert "OSError: [Errno 27]" in end.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"


def test_a_bucket_that_is_not_there_stops_before_the_first_stage(
    tmp_path, s3, digits_folder, monkeypatch, kfp_vision_here
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    output = s3.replace("//bucket", "//absent")
    answer = kfp_vision_here("run", "--dataset-uri", digits_folder, "--output", f"{output}/out")
    assert answer.returncode == 2
    assert f"Cannot reach '{output}/out/run.json'" in answer.stderr
    assert not list((tmp_path / "cache").rglob("*.log"))


def test_a_failed_run_leaves_its_record_and_its_logs_in_the_bucket(
    tmp_path, s3, monkeypatch, kfp_vision_here
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    answer = kfp_vision_here("run", "--dataset-uri", tmp_path / "empty", "--output", f"{s3}/out")
    assert answer.returncode == 1
    folder = open_folder(f"{s3}/out")[0]
    record = json.loads(folder.read("run.json"))
    assert record["status"] == "failed"
    assert "Received" in record["reason"]
    assert b"Traceback" in folder.read("logs/list-sources.log")
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    assert secret not in answer.stdout + answer.stderr
    assert not [path for path in folder.list_files() if secret.encode() in folder.read(path)]
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if secret.encode() in path.read_bytes()]
