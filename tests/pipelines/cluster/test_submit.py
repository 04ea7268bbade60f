"""`submit`, `status`, `cancel` and `fetch` against a server that answers as the real one does."""

import json
import signal
from pathlib import Path

import pytest
from http_answers import Answer, serving
from kfp_server import KfpServer, driver_of, pod_of, stage, waiting_root

from kfp_vision.components.shared.runtime.storage import open_folder, publish
from kfp_vision.pipelines.cluster import following, kube_context, submission
from kfp_vision.pipelines.cluster.compiling import compile_pipeline

RESULTS = ["artifacts.json", "recipe.json", "report.html", "report.json"]
NOT_FOUND = 'ImagePullBackOff: Back-off pulling image "ghcr.io/team/kfp-vision/python-cpu:no"'
FAILED_LOG = """\
I1127 00:38:39.514512      16 launcher_v2.go:151] input ComponentSpec
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
kfp_vision.errors.StorageError: Cannot reach 's3://team/photos': no such bucket. Check the name.
I1127 00:38:41.000000      16 launcher_v2.go:206] publish failed.
F1127 00:38:41.000001      16 main.go:57] failed to execute component: exit status 1
time="2026-11-27T00:38:41 UTC" level=info msg="sub-process exited" argo=true
Error: exit status 1
"""


_compiled: dict[str, bytes] = {}


def _compile_once(path, *shape, **more):
    """Compiles one file of each shape: what a file holds is told by other tests."""
    key = repr((shape, more))
    if key not in _compiled:
        compile_pipeline(path, *shape, **more)
        _compiled[key] = path.read_bytes()
    path.write_bytes(_compiled[key])


@pytest.fixture(autouse=True)
def _fast(monkeypatch, tmp_path):
    monkeypatch.setattr(submission, "compile_pipeline", _compile_once)
    monkeypatch.setattr(following, "_POLL_S", 0.01)
    monkeypatch.setattr(following, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(following, "_HOPELESS_S", 0.1)
    monkeypatch.setattr(following, "_UNBEGUN_S", 0.1)
    kube_context._api.cache_clear()
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
    )


@pytest.fixture
def server(monkeypatch):
    server = KfpServer()
    with serving(server) as host:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", host)
        yield server
    assert server.refused == []


@pytest.fixture
def submit(kfp_vision_here):
    def run(*arguments, data="s3://team/photos", output="s3://team/results"):
        given = ("--dataset-uri", data, "--output", output)
        return kfp_vision_here("submit", *given, *arguments)

    return run


def passed(server, name="publish", log=""):
    """Lets the run end well after one stage."""
    server.states = ["PENDING", "RUNNING", "SUCCEEDED"]
    server.nodes = [
        [],
        stage(name, "Succeeded", "Running", ["Running"]),
        stage(name, "Succeeded", "Succeeded", ["Succeeded"], seconds=42),
    ]
    server.logs[pod_of(name)] = log


def write_results(uri, tmp_path, reason="", run_id="run-0"):
    """Publishes what a run leaves in its output."""
    score = {"accuracy": {"value": 0.9, "ci95": [0.8, 0.95]}}
    report = {
        "task": "binary",
        "status": "rejected" if reason else "passed",
        "reason": reason,
        "metrics": {"primary": "accuracy", "test": score, "validation": score},
        "baselines": {},
        "exports": [],
        "warnings": [],
        "cost": {"plain_training_s": 10.0, "total_s": 30.0, "multiple": 3.0},
    }
    files = {"report.json": json.dumps(report), "report.html": "<p>page", "recipe.json": "{}"}
    files["artifacts.json"] = json.dumps({"run_id": run_id})
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    publish({name: tmp_path / name for name in files}, uri)


def test_a_run_is_followed_to_its_report(server, submit, s3, tmp_path):
    output = f"{s3}/results"
    write_results(output, tmp_path)
    progress = {"stage": "train", "done": 4, "total": 8, "unit": "steps", "per_second": 2.0}
    passed(server, log=f"note a plan\nprogress {json.dumps(progress)}\nI1127 launcher\n")
    end = submit("--epochs", 3, output=output)
    assert end.returncode == 0
    assert "publish              a plan" in end.stdout
    assert "publish              done in 42.0 s" in end.stdout
    assert "0.9000" in end.stdout
    assert f"Report   {output}/report.html" in end.stdout
    assert "kfp-vision cancel run-0" in end.stdout
    arguments = server.run["runtime_config"]["parameters"]
    assert arguments["epochs"] == 3
    assert arguments["checkpoint_uri"] == f"{output}/checkpoints"
    assert "trial_workers" not in arguments


def test_a_file_is_published_once(server, submit):
    for _ in range(2):
        assert submit("--no-follow").returncode == 0
    assert len(server.versions) == 1
    assert submit("--no-follow", "--secret", "keys").returncode == 0
    assert len(server.versions) == 2
    assert submit("--no-follow", "--version", next(iter(server.versions))).returncode == 0
    assert len(server.versions) == 2
    assert len(server.experiments) == 1


def test_a_version_that_does_not_exist_is_named(server, submit):
    end = submit("--version", "0.9")
    assert end.returncode == 2
    assert "a server without that pipeline" in end.stderr
    submit("--no-follow")
    end = submit("--version", "0.9")
    assert f"Received: '0.9'. The newest are: {next(iter(server.versions))}" in end.stderr
    for option, value in (("--registry", "ghcr.io/team"), ("--trial-workers", 4)):
        end = submit("--version", "0.9", option, value)
        assert end.returncode == 2
        assert f"and {option[2:].replace('-', '_')}. Leave one of the two out" in end.stderr


def test_a_version_must_know_what_is_set(server, submit):
    submit("--no-follow")
    [(name, version)] = server.versions.items()
    inputs = version["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    del inputs["epochs"]
    assert submit("--no-follow", "--version", name).returncode == 0
    end = submit("--no-follow", "--version", name, "--epochs", 3)
    assert end.returncode == 2
    assert f"one of the version {name}. Received: epochs=3" in end.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--recipe-uri", "recipe.json"), "recipe_uri"),
        (("--architecture", "mine.keras"), "architecture"),
        (("--checkpoint-uri", "/tmp"), "checkpoint_uri"),
        (("--dataset-uri", "photos/"), "dataset_uri"),
        (("--output", "file:///out"), "output_uri"),
    ],
)
def test_what_pods_cannot_see_is_refused(submit, arguments, name):
    end = submit("--host", "http://127.0.0.1:1", *arguments)
    assert end.returncode == 2
    assert f"`{name}` must be in a bucket: the pods of a cluster do not see" in end.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--registry", "https://ghcr.io/team"), "`registry` must be host and path"),
        (("--registry", "ghcr.io/Team"), "Leave out https://, tags and capitals"),
        (("--secret", "My Secret"), "`secret` must be the name of an object in Kubernetes"),
        (("--service-account", "a_b"), "`service_account` must be the name of an object"),
        (("--experiment", " "), "`experiment` must be a name"),
        (("--pipeline-root", "/data"), "`pipeline_root` must be in a bucket"),
        (("--dataset-uri", "s3://"), "must name it. Received: 's3://'"),
        (("--dataset-uri", "https://x/photos.zip"), "must be a local path or start with"),
        (("--output", "s3://team/photos/out"), "must not lie in the dataset"),
        (("--output", "s3://team/photos"), "must not lie in the dataset"),
    ],
)
def test_what_is_certain_to_fail_is_not_submitted(submit, arguments, said):
    end = submit("--host", "http://127.0.0.1:1", *arguments)
    assert end.returncode == 2
    assert said in end.stderr


@pytest.mark.parametrize("path", ["pipeline.txt", "missing/pipeline.yaml", "."])
def test_a_pipeline_is_compiled_to_a_yaml_file(kfp_vision_here, tmp_path, path):
    end = kfp_vision_here("compile", tmp_path / path)
    assert end.returncode == 2
    assert "`path` must be a .yaml file in a folder that exists" in end.stderr


MANIFESTS = ["{oops", "[]", '{"status": null}', '{"status": {"nodes": {"a": {}}}}']
MANIFESTS += ['{"status": {"compressedNodes": "QUJD"}}']


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_run_that_is_told_otherwise_is_no_traceback(
    server, submit, kfp_vision_here, monkeypatch, manifest
):
    submit("--no-follow")
    body = json.dumps({"pipeline_runtime": {"workflow_manifest": manifest}})
    monkeypatch.setattr(server, "_get_detail", lambda *a: Answer(body.encode()))
    end = kfp_vision_here("status", "run-0")
    assert end.returncode == 2
    assert "must be told as Kubeflow Pipelines 2.17 tells it. Received: run-0" in end.stderr
    assert "must be one of the server. Received: ''" in kfp_vision_here("status", "").stderr


def test_a_volume_of_the_cluster_is_no_path_of_this_machine(server, submit, tmp_path):
    (tmp_path / "own.yaml").write_text("workspace: claim")
    own = ("--profile", tmp_path / "own.yaml")
    places = {"data": "/workspace/photos", "output": "/workspace/out"}
    end = submit("--no-follow", **places)
    assert end.returncode == 2
    assert "Set `workspace` in the file of `--profile`" in end.stderr
    assert submit("--no-follow", *own, **places).returncode == 0
    parameters = server.run["runtime_config"]["parameters"]
    assert parameters["checkpoint_uri"] == "/workspace/out/checkpoints"
    [mounted] = server.versions
    assert submit("--no-follow", "--version", mounted, **places).returncode == 0
    submit("--no-follow")
    other = next(name for name in server.versions if name != mounted)
    end = submit("--no-follow", "--version", other, **places)
    assert end.returncode == 2
    assert "compiled with the claim of a volume. Received: '/workspace/photos'" in end.stderr
    end = submit("--no-follow", *own, data="/workspace/../etc", output="/workspace/out")
    assert "do not see the files of this machine. Received: '/workspace/../etc'" in end.stderr
    passed(server)
    end = submit(*own, **places)
    assert end.returncode == 0
    assert "/workspace/out/report.html, not read here: Results must be in a bucket" in end.stdout


def test_a_rejected_model_is_told_as_run_tells_it(server, submit, s3, tmp_path):
    output = f"{s3}/rejected"
    write_results(output, tmp_path, "rejected: no better than chance")
    server.states = ["FAILED"]
    published = stage("publish", "Succeeded", "Succeeded", ["Succeeded"])
    server.nodes = [[*published, *stage("check-model", "Succeeded", "Failed", ["Failed"])]]
    trace = "Traceback (most recent call last):\n  x\nValueError: rejected\n"
    server.logs[pod_of("check-model")] = trace + "rejected: no better than chance\n"
    end = submit(output=output)
    assert end.returncode == 1
    assert end.stdout.rstrip().endswith("rejected: no better than chance")


def test_a_failed_stage_gives_its_reason_and_its_log(server, submit, kfp_vision_here):
    server.states = ["RUNNING", "RUNNING", "FAILED"]
    message = "Error (exit code 1)"
    one = stage("import-dataset", "Succeeded", "Running", ["Failed"], message=message)
    two = stage("import-dataset", "Succeeded", "Failed", ["Failed", "Failed"], message=message)
    server.nodes = [one, one, two]
    for attempt in (0, 1):
        server.logs[pod_of("import-dataset", attempt)] = FAILED_LOG
    end = submit()
    assert end.returncode == 2
    reason = "Cannot reach 's3://team/photos': no such bucket. Check the name."
    assert f"attempt 1 failed, another one follows: kfp_vision.errors.StorageError: {reason}" in (
        end.stdout
    )
    assert f"import-dataset failed: kfp_vision.errors.StorageError: {reason}\nFull log" in (
        end.stdout
    )
    command = "kfp-vision status run-0 --log import-dataset"
    assert command in end.stdout
    assert kfp_vision_here(*command.split()[1:]).stdout == FAILED_LOG
    assert "import-dataset" in kfp_vision_here("status", "run-0", "--log", "train").stderr
    both = kfp_vision_here("status", "run-0", "--log", "import-dataset", "--follow")
    assert "Leave one of the two out" in both.stderr


@pytest.mark.parametrize(
    ("log", "message", "reason"),
    [
        (
            "step 3\n",
            "OOMKilled (exit code 137)",
            "OOMKilled (exit code 137). Its last words: step 3",
        ),
        ("", "pod deleted", "pod deleted"),
    ],
)
def test_without_an_exception_the_cluster_gives_the_reason(server, submit, log, message, reason):
    server.states = ["FAILED"]
    server.nodes = [stage("train-model", "Succeeded", "Failed", ["Failed"], message=message)]
    if log:
        server.logs[pod_of("train-model")] = log
    assert f"train-model failed: {reason}\n" in submit().stdout


def test_a_driver_that_fails_is_the_failure_of_its_stage(server, submit):
    server.states = ["FAILED"]
    server.nodes = [stage("train-model", "Failed", message="Error (exit code 1)")]
    server.logs[driver_of("train-model")] = (
        "I1127 00:38:39.514512 1 main.go:99] start\nF1127 00:38:39.6 1 main.go:87] no such root\n"
    )
    assert "train-model failed: Error (exit code 1). Its last words: no such root" in (
        submit().stdout
    )


def test_an_image_that_cannot_be_pulled_ends_the_wait(server, submit):
    server.states = ["RUNNING"]
    server.nodes = [stage("list-sources", "Succeeded", "Running", ["Pending"], message=NOT_FOUND)]
    end = submit()
    assert end.returncode == 2
    assert end.stdout.count(f"list-sources         cannot start: {NOT_FOUND}") == 1
    assert f"\nlist-sources cannot start: {NOT_FOUND}\nThe run goes on. " in end.stdout
    assert "kfp-vision status run-0 --follow\nTo end it: kfp-vision cancel run-0" in end.stdout


def test_a_driver_of_the_whole_run_that_cannot_start_is_named(server, submit):
    server.states, server.nodes = ["RUNNING"], [waiting_root(NOT_FOUND)]
    end = submit()
    assert end.returncode == 2
    assert f"\nroot cannot start: {NOT_FOUND}\nThe run goes on. " in end.stdout
    # In its first seconds it waits without a word.
    passed(server)
    server.nodes = [waiting_root("PodInitializing"), *server.nodes]
    end = submit()
    assert end.returncode == 0
    assert "root" not in end.stdout


def test_a_run_without_a_pod_is_told_of(server, submit):
    passed(server)
    server.states = ["PENDING"] * 40 + server.states
    server.nodes = [[]] * 40 + server.nodes
    end = submit()
    assert end.returncode == 0
    assert end.stdout.count("waits: no stage has begun. Is the workflow controller up?") == 1


class Clock:
    """Time passes while nobody looks."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_an_image_that_comes_at_last_is_waited_for(server, submit, monkeypatch):
    """The time for a node, and that of an earlier trouble, are none of this one's."""
    monkeypatch.setattr(following, "time", Clock())
    told = ["Unschedulable: 0/3 nodes"] * 30
    told += [*[NOT_FOUND] * 7, *["PodInitializing"] * 2, *[NOT_FOUND] * 7]
    passed(server)
    server.nodes[:1] = [
        stage("publish", "Succeeded", "Running", ["Pending"], message=message) for message in told
    ]
    server.states = ["RUNNING"] * (len(told) + 1) + ["SUCCEEDED"]
    end = submit()
    assert end.returncode == 0
    assert end.stdout.count("cannot start: ImagePullBackOff") == 1


def test_a_pod_that_waits_for_a_node_is_named_once_and_waited_for(server, submit):
    waiting = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    server.states = ["RUNNING"] * 30 + ["CANCELED"]
    server.nodes = [stage("train-model", "Succeeded", "Running", ["Pending"], message=waiting)]
    end = submit()
    assert end.returncode == 2
    assert end.stdout.count(waiting) == 1
    assert "The run was canceled" in end.stdout


def test_the_ui_tells_what_argo_does_not(server, submit):
    """A launcher that cannot be pulled is `PodInitializing` to Argo."""
    server.ui, server.states = True, ["RUNNING"]
    starting = stage("train-model", "Succeeded", "Running", ["Pending"], message="PodInitializing")
    server.nodes = [starting]
    waiting = {"reason": "ErrImagePull", "message": "kfp-launcher: not found"}
    server.pods[pod_of("train-model")] = {
        "status": {"initContainerStatuses": [{"state": {"waiting": waiting}}]}
    }
    end = submit()
    assert end.returncode == 2
    assert "train-model cannot start: ErrImagePull: kfp-launcher: not found" in end.stdout


def test_logs_come_through_the_ui_too(server, submit):
    server.ui = True
    passed(server, log="note from the UI\n")
    assert "publish              from the UI" in submit().stdout


def test_stages_from_the_cache_are_shown(server, submit):
    server.states, server.nodes = ["SUCCEEDED"], [stage("train-model", "Succeeded", cached=True)]
    assert "train-model          from the cache" in submit().stdout


def test_a_server_that_is_away_is_waited_for(server, submit, monkeypatch):
    passed(server)
    run_once = server._get_run

    def vanish(asked, query, run_id):
        server.away = 3
        monkeypatch.setattr(server, "_get_run", run_once)
        return run_once(asked, query, run_id)

    monkeypatch.setattr(server, "_get_run", vanish)
    end = submit()
    assert end.returncode == 0
    assert end.stdout.count("Asking again.") == 1


LOGIN = Answer(b"<html><form>Log in <input type=password>", content_type="text/html")
REFUSED = Answer(b'{"code": 16, "message": "Unauthenticated"}', 401)


@pytest.mark.parametrize(
    ("answer", "reason"), [(LOGIN, "shows a login page"), (REFUSED, "does not accept")]
)
def test_credentials_that_expire_are_read_anew_once(server, submit, monkeypatch, answer, reason):
    passed(server)
    read, refusals = server._get_run, [answer]
    monkeypatch.setattr(server, "_get_run", lambda *a: refusals.pop() if refusals else read(*a))
    end = submit()
    assert end.returncode == 0
    assert reason not in end.stdout
    monkeypatch.setattr(server, "_get_run", lambda *a: answer)
    end = submit()
    assert end.returncode == 2
    assert reason in end.stdout
    assert "The run goes on. To see it again: kfp-vision status run-0 --follow" in end.stdout


def test_ctrl_c_leaves_the_run_and_says_how_to_return(server, submit, monkeypatch):
    server.states = ["RUNNING"]
    monkeypatch.setattr("time.sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    # A shell may have started the tests in the background, where Ctrl-C is ignored.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        end = submit()
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert end.returncode == 128 + signal.SIGINT
    assert "To see it again: kfp-vision status run-0 --follow" in end.stdout
    assert not [each for each in server.requests if "terminate" in each]


def test_status_shows_the_stages(server, submit, kfp_vision_here):
    submit("--no-follow")
    server.states = ["RUNNING"]
    server.nodes = [
        [
            *stage("import-dataset", "Succeeded", "Succeeded", ["Failed", "Succeeded"], seconds=9),
            *stage("train-model", "Succeeded", "Running", ["Pending"], message=NOT_FOUND),
        ]
    ]
    end = kfp_vision_here("status", "run-0")
    assert end.returncode == 0
    assert "import-dataset" in end.stdout
    assert "done, attempt 2" in end.stdout
    assert "ImagePullBackOff" in end.stdout
    end = kfp_vision_here("status", "another")
    assert end.returncode == 2
    assert "must be one of the server. Received: 'another'" in end.stderr


def test_cancel_ends_a_run_once(server, submit, kfp_vision_here):
    submit("--no-follow")
    server.states = ["RUNNING"]
    assert "is canceled" in kfp_vision_here("cancel", "run-0").stdout
    end = kfp_vision_here("status", "run-0", "--follow")
    assert end.returncode == 2
    assert "The run was canceled" in end.stdout
    assert "has ended (failed)" in kfp_vision_here("cancel", "run-0").stderr


def test_fetch_brings_the_results(server, submit, kfp_vision_here, s3, tmp_path):
    output = f"{s3}/fetched"
    write_results(output, tmp_path)
    submit("--no-follow", output=output)
    target = tmp_path / "here"
    server.states = ["RUNNING"]
    assert "must have ended" in kfp_vision_here("fetch", "run-0", "--output", target).stderr
    server.states = ["SUCCEEDED"]
    end = kfp_vision_here("fetch", "run-0", "--output", target)
    assert [Path(line).name for line in end.stdout.splitlines()] == RESULTS
    assert (target / "report.html").read_text() == "<p>page"


def test_a_fetched_folder_shows_one_run(server, submit, kfp_vision_here, s3, tmp_path):
    target = tmp_path / "here"
    server.states = ["SUCCEEDED"]
    write_results(f"{s3}/one", tmp_path)
    (tmp_path / "model.onnx").write_text("one")
    listing = open_folder(f"{s3}/one")[0].list_files()
    publish(
        {"model/model.onnx": tmp_path / "model.onnx"} | {n: tmp_path / n for n in listing},
        f"{s3}/one",
    )
    submit("--no-follow", output=f"{s3}/one")
    assert kfp_vision_here("fetch", "run-0", "--output", target).returncode == 0
    (target / "notes.txt").write_text("mine")
    write_results(f"{s3}/two", tmp_path)
    # By somebody else who may write to the bucket.
    listing = open_folder(f"{s3}/two")[0].list_files()
    (tmp_path / "notes.txt").write_text("not mine")
    publish({name: tmp_path / name for name in (*listing, "notes.txt")}, f"{s3}/two")
    submit("--no-follow", output=f"{s3}/two")
    end = kfp_vision_here("fetch", "run-0", "--output", f"file://{target}")
    assert [Path(line).name for line in end.stdout.splitlines()] == RESULTS
    assert sorted(each.name for each in target.iterdir()) == sorted([*RESULTS, "notes.txt"])
    assert (target / "notes.txt").read_text() == "mine"


def test_results_of_another_run_are_not_taken_for_its_own(
    server, submit, kfp_vision_here, s3, tmp_path
):
    output = f"{s3}/shared"
    write_results(output, tmp_path, run_id="run-1")
    passed(server)
    end = submit(output=output)
    assert end.returncode == 0
    sentence = f"{output} must hold the results of run run-0. Received: those of run run-1"
    assert sentence in end.stdout
    assert "0.9000" not in end.stdout
    assert sentence in kfp_vision_here("status", "run-0").stdout
    fetched = kfp_vision_here("fetch", "run-0", "--output", tmp_path / "here")
    assert fetched.returncode == 2
    assert sentence in fetched.stderr
    assert not (tmp_path / "here").exists()


def test_a_run_that_has_published_nothing_is_not_fetched(
    server, submit, kfp_vision_here, s3, tmp_path
):
    output = f"{s3}/unpublished"
    write_results(output, tmp_path)
    server.states = ["FAILED"]
    server.nodes = [stage("train-model", "Succeeded", "Failed", ["Failed"])]
    submit("--no-follow", output=output)
    end = kfp_vision_here("fetch", "run-0", "--output", tmp_path / "here")
    assert end.returncode == 2
    assert "must have published results" in end.stderr
    assert "`kfp-vision status run-0` says how it ended" in end.stderr


@pytest.mark.parametrize("output", ["s3://bucket/out", "a-file"])
def test_results_are_fetched_to_a_folder(kfp_vision_here, server, submit, tmp_path, output):
    submit("--no-follow")
    server.states = ["SUCCEEDED"]
    (tmp_path / "a-file").touch()
    place = output if "://" in output else tmp_path / output
    end = kfp_vision_here("fetch", "run-0", "--output", place)
    assert end.returncode == 2
    assert "`output` must be" in end.stderr


def test_the_ui_hands_out_what_this_machine_cannot_reach(
    server, submit, kfp_vision_here, s3, s3_environment, seaweedfs, tmp_path
):
    output = f"{s3}/apart"
    write_results(output, tmp_path)
    server.ui = True
    for file in (".manifest.json", *RESULTS):
        name = f"{output.removeprefix('s3://')}/{file}"
        server.objects[f"minio/{name}"] = open_folder(output)[0].read(file)
    passed(server)
    s3_environment(seaweedfs.url, {"AWS_ACCESS_KEY_ID": "no", "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert "0.9000" in submit(output=output).stdout
    fetched = kfp_vision_here("fetch", "run-0", "--output", tmp_path / "here")
    assert fetched.returncode == 0
    assert (tmp_path / "here" / "report.html").read_text() == "<p>page"
    server.objects[f"minio/{output.removeprefix('s3://')}/recipe.json"] = b"{ }"
    damaged = kfp_vision_here("fetch", "run-0", "--output", tmp_path / "here")
    assert "must have the checksum" in damaged.stderr
    server.ui = False
    end = submit(output=output)
    assert end.returncode == 0
    assert f"Report   {output}/report.html, not read here: Cannot reach" in end.stdout
    assert kfp_vision_here("fetch", "run-0", "--output", tmp_path / "there").returncode == 2


def test_a_run_that_had_nothing_to_do_shows_no_earlier_report(server, submit, s3, tmp_path):
    write_results(f"{s3}/old", tmp_path)
    server.states = ["SUCCEEDED"]
    server.nodes = [stage("list-sources", "Succeeded", "Succeeded", ["Succeeded"])]
    end = submit(output=f"{s3}/old")
    assert end.returncode == 0
    assert "has published nothing" in end.stdout
    assert "0.9000" not in end.stdout


def test_the_kube_context_tells_what_the_server_does_not(server, submit, tmp_path):
    asked = []

    def kubernetes(request):
        asked.append(request.path)
        if "/log?" in request.path:
            return Answer(b"its last words\n", content_type="text/plain")
        waiting = {"reason": "ErrImagePull", "message": "kfp-launcher: not found"}
        container = {"name": "init", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {"initContainerStatuses": [{**container, "state": {"waiting": waiting}}]}
        return Answer(json.dumps({"kind": "Pod", "metadata": {}, "status": status}).encode())

    with serving(kubernetes) as url:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "k",
        }
        (tmp_path / "config").write_text(json.dumps(config))
        starting = stage("publish", "Succeeded", "Running", ["Pending"], message="PodInitializing")
        server.states, server.nodes = ["RUNNING"], [starting]
        assert "publish cannot start: ErrImagePull: kfp-launcher: not found" in submit().stdout
        server.states = ["FAILED"]
        server.nodes = [stage("publish", "Succeeded", "Failed", ["Failed"], message="Evicted")]
        assert "publish failed: Evicted. Its last words: its last words" in submit().stdout
    pod = f"/api/v1/namespaces/kubeflow/pods/{pod_of('publish')}"
    assert pod in asked
    assert f"{pod}/log?container=main" in asked
