"""What arrives at a real MLflow server, and that none is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_server import mlflow_server
from storage_servers import free_ports

from kfp_vision.components.shared.runtime.tracking import Tracker, take_tracking_failures, tracked

CURVES: list[dict[str, Any]] = [
    {"step": step, "split": split, "metric": "loss", "value": 1.0 / step}
    for step in (10, 20, 30, 40)
    for split in ("train", "validation")
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return MlflowClient(server)


@contextmanager
def followed(run_id: str = "") -> Iterator[Tracker]:
    with tracked(run_id) as tracker:
        assert tracker is not None
        yield tracker


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


@pytest.mark.slow
def test_parameters_curves_results_and_files_arrive(client, tmp_path):
    (tmp_path / "report.html").write_text("<p>report")
    with followed() as tracker:
        tracker.begin(
            "photos", "first", {"training.batch_size": 64, "model.architecture": "x" * 900}
        )
        tracker.write(CURVES[:4], True)
        tracker.write(CURVES[4:], False)
        run_id = tracker.flush()
        assert client.get_run(run_id).info.status == "RUNNING"
    with followed(run_id) as tracker:
        tracker.log({"test/accuracy": 0.9, "test/auroc": None}, {"kfp_vision.status": "passed"})
        tracker.upload([tmp_path / "report.html"])
        tracker.end()
    assert take_tracking_failures() == []
    run = client.get_run(run_id)
    assert run.info.run_name == "photos"
    assert client.get_experiment(run.info.experiment_id).name == "kfp-vision"
    assert run.data.params == {"training.batch_size": "64", "model.architecture": "x" * 500}
    assert history(client, run_id, "validation/loss") == [(s, 1 / s) for s in (10, 20, 30, 40)]
    assert run.data.metrics["test/accuracy"] == 0.9
    assert run.data.tags["kfp_vision.status"] == "passed"
    assert [file.path for file in client.list_artifacts(run_id)] == ["report.html"]
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_training_that_goes_on_has_every_point_once(client):
    runs = []
    # The second process begins with what its checkpoint knows, one point less than was sent.
    for rows, more in ((CURVES[:2], CURVES[2:6]), (CURVES[:4], CURVES[4:])):
        with followed() as tracker:
            tracker.begin("photos", "killed", {"training.steps": 40})
            tracker.write(rows, True)
            tracker.write(more, False)
            runs.append(tracker.flush())
    assert runs[0] == runs[1]
    assert take_tracking_failures() == []
    found = history(client, runs[0], "train/loss")
    assert sorted(set(found)) == [(s, 1 / s) for s in (10, 20, 30, 40)]
    with followed(runs[0]) as tracker:
        tracker.end()
    with followed() as tracker:
        tracker.begin("photos", "killed", {})
        assert tracker.flush() not in runs


@pytest.mark.slow
def test_a_repaired_training_keeps_its_points_and_goes_on_with_its_new_steps(client):
    with followed() as tracker:
        tracker.begin("photos", "repaired", {})
        tracker.write(CURVES[:4], True)
        tracker.write([{**row, "step": 2 * row["step"]} for row in CURVES[:4]], True)
        tracker.write([{**CURVES[4], "step": 60}], False)
        run_id = tracker.flush()
    assert [step for step, _ in history(client, run_id, "train/loss")] == [10, 20, 60]


@pytest.mark.slow
def test_the_run_of_the_environment_is_used_and_not_ended(client, monkeypatch):
    run_id = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with followed("another") as tracker:
        tracker.begin("photos", "theirs", {"training.steps": 40})
        tracker.write(CURVES, True)
        tracker.end()
    assert take_tracking_failures() == []
    assert len(history(client, run_id, "train/loss")) == 4
    assert client.get_run(run_id).info.status == "RUNNING"


@pytest.mark.slow
def test_what_a_server_missed_is_sent_when_it_is_back(client, monkeypatch):
    with followed() as tracker:
        monkeypatch.setattr(tracker, "_open", lambda: 1 / 0)
        tracker.begin("photos", "missed", {"training.steps": 40})
        tracker.write(CURVES[:4], True)
        tracker.flush()
        assert tracker.run_id == ""
        monkeypatch.delattr(tracker, "_open")
        tracker.write(CURVES[4:], False)
        run_id = tracker.flush()
    assert [step for step, _ in history(client, run_id, "train/loss")] == [10, 20, 30, 40]
    assert client.get_run(run_id).data.params == {"training.steps": "40"}
    (sentence,) = take_tracking_failures()
    assert "2 calls failed (2 x ZeroDivisionError), 0 points" in sentence


def test_a_server_that_is_not_there_costs_a_warning(monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with followed() as tracker:
        tracker.begin("photos", "nowhere", {})
        tracker.write(CURVES, True)
    (sentence,) = take_tracking_failures()
    assert "2 calls failed" in sentence
    assert "8 points of the curves are missing" in sentence
    assert "secret" not in sentence
    assert str(port) not in sentence


def test_without_a_server_nothing_is_tracked(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracked() as tracker:
        assert tracker is None
    assert take_tracking_failures() == []


@pytest.mark.slow
def test_a_training_is_followed(client, digits_dir: Path, small_model: str, tmp_path: Path):
    import pyarrow.parquet as pq

    from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
    from kfp_vision.components.shared.recipe.user_choices import UserChoices
    from kfp_vision.components.training.train import train_model

    data = {"class_weights": Setting(None, ""), "primary_metric": Setting("accuracy", "")}
    write_recipe(Recipe().with_settings("data", data), tmp_path / "recipe.json")
    config = UserChoices(architecture=small_model, epochs=2, batch_size=64)
    with followed() as tracker:
        train_model(
            digits_dir,
            tmp_path / "recipe.json",
            tmp_path / "model",
            tmp_path / "checkpoints",
            config,
            tracker=tracker,
        )
    assert take_tracking_failures() == []
    run = client.get_run(tracker.run_id)
    assert run.data.params["training.batch_size"] == "64"
    rows = pq.read_table(tmp_path / "model/curves.parquet").to_pylist()
    for name in {f"{row['split']}/{row['metric']}" for row in rows}:
        points = [
            (row["step"], row["value"]) for row in rows if f"{row['split']}/{row['metric']}" == name
        ]
        assert history(client, run.info.run_id, name) == points
    assert run.info.run_id in (tmp_path / "model/stage_report.json").read_text()
