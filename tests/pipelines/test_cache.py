"""KFP's cache on disk: metrics stay cached, and only what is in use stays at all."""

import json
import os

import pytest

from kfp_vision.pipelines.local.cache import (
    keep_metrics,
    remove_earlier,
    remove_unfinished,
    remove_unused,
)


@pytest.fixture
def state(tmp_path):
    """Two runs under two versions of the code; the newer one uses a task of each run."""
    runs = {name: tmp_path / "artifacts" / name for name in ("first", "second", "failed")}
    for run in runs.values():
        (run / "train-model").mkdir(parents=True)
    entries = {
        "old": {"model": {"schema_title": "system.Model", "uri": str(runs["failed"] / "model")}},
        "new": {
            "model": {"schema_title": "system.Model", "uri": str(runs["first"] / "train-model")},
            "metrics": {
                "schema_title": "system.Metrics",
                "uri": str(runs["second"] / "train-model" / "metrics"),
            },
            "passed": True,
        },
    }
    for version, outputs in entries.items():
        folder = tmp_path / "cache" / version
        folder.mkdir(parents=True)
        (folder / "key.json").write_text(json.dumps(outputs))
    return tmp_path


def test_metrics_get_a_file(state):
    keep_metrics(state / "cache" / "new")
    assert (state / "artifacts" / "second" / "train-model" / "metrics").exists()


def test_an_entry_that_a_power_cut_has_left_empty_is_none(state):
    (state / "cache/new/cut.json").touch()
    keep_metrics(state / "cache/new")
    assert [path.name for path in (state / "cache/new").iterdir()] == ["key.json"]
    assert (state / "artifacts/second/train-model/metrics").exists()


def test_lost_artifacts_stay_lost(state):
    (state / "artifacts" / "second" / "train-model").rmdir()
    keep_metrics(state / "cache" / "new")
    assert not (state / "artifacts" / "second" / "train-model").exists()


def test_only_what_the_current_cache_refers_to_and_the_last_run_stay(state):
    (state / "artifacts" / "third" / "publish").mkdir(parents=True)
    remove_unused(state / "artifacts", state / "cache" / "new")
    left = sorted(path.name for path in (state / "artifacts").iterdir())
    assert left == ["first", "second", "third"]
    assert [path.name for path in (state / "cache").iterdir()] == ["new"]


def test_after_a_run_on_more_data_only_what_it_has_used_stays(state):
    third = state / "artifacts/third/train-model"
    third.mkdir(parents=True)
    model = {"model": {"schema_title": "system.Model", "uri": str(third)}}
    (state / "cache/new/third.json").write_text(json.dumps(model))
    files = [
        *("features/a/x.npz", "images/b.images"),
        *("0123456789abcdef/state.npz", "trials-1/deep/x.jsonl", "fedcba9876543210/state.npz"),
    ]
    for age, name in enumerate(files):
        path = state / "checkpoints" / name
        path.parent.mkdir(parents=True)
        path.touch()
        for each in (path, *path.parents[: len(path.parents) - len(state.parents) - 2]):
            os.utime(each, (1000 + age, 1000 + age))
    # The last of the trainings is the one of the run.
    uris = [str(third), str(state / "artifacts/second/import-dataset"), "s3://bucket/other"]
    remove_earlier(state, state / "cache/new", uris, since=1004)
    assert sorted(path.name for path in (state / "artifacts").iterdir()) == ["second", "third"]
    # The entry that refers to the first run, too, is gone as a whole.
    assert [path.name for path in (state / "cache/new").iterdir()] == ["third.json"]
    left = {path.name for path in (state / "checkpoints").iterdir()}
    assert left == {"features", "images", "fedcba9876543210"}


def test_what_a_stopped_task_was_writing_is_removed(tmp_path):
    task = tmp_path / "artifacts/run/train-model/1"
    whole = [task / "model/model.keras", task / "metrics", tmp_path / "checkpoints/a/state.npz"]
    halves = [task / "model/.1f", task / ".2f", task / "model/deep/.3f/x"]
    halves.append(tmp_path / "checkpoints/a/.state.npz-1")
    for path in (*whole, *halves):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_unfinished(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(whole)
