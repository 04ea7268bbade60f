"""`watch`: nothing new, something new, one at a time, and after `kill -9`."""

import fcntl
import shutil
import signal
import subprocess
import time

import pytest
from rich.console import Console

from kfp_vision.components.data_import.source_version import list_source_files
from kfp_vision.components.shared.artifacts.source_files import write_source_files
from kfp_vision.pipelines.parameters import make_parameters
from kfp_vision.pipelines.retraining import watching
from kfp_vision.pipelines.retraining.deciding import plan_here
from kfp_vision.pipelines.retraining.last_success import read_last_success, record_success
from kfp_vision.pipelines.retraining.triggers import Triggers


@pytest.fixture
def photos(tmp_path, digits_folder):
    for label in range(2):
        folder = tmp_path / "photos" / f"digit {label}"
        folder.mkdir(parents=True)
        for path in sorted((digits_folder / folder.name).iterdir())[:60]:
            shutil.copy(path, folder)
    return tmp_path / "photos"


@pytest.fixture
def arguments(photos, tmp_path, small_model):
    return (
        *("watch", "--dataset-uri", photos, "--output", tmp_path / "out"),
        *("--architecture", small_model, "--epochs", 60, "--no-learn-batch-size"),
        "--no-search-augmentation",
    )


def record_run(photos, tmp_path, small_model):
    """Records what a run on the images of this moment would record."""
    champions = str(tmp_path / "out/champions")
    uris = (str(photos), "auto", "", False, "", small_model, champions, 0)
    write_source_files(list_source_files(*uris), tmp_path / "sources")
    record_success(champions, tmp_path / "sources")


def test_nothing_new_trains_nothing(arguments, photos, tmp_path, small_model, kfp_vision_here):
    record_run(photos, tmp_path, small_model)
    answer = kfp_vision_here(*arguments, "--once")
    assert answer.returncode == 0, answer.stderr
    assert "Nothing new" in answer.stdout
    assert not (tmp_path / "out/run.json").exists()


def test_few_new_images_are_left_for_later(
    arguments, photos, tmp_path, small_model, kfp_vision_here
):
    record_run(photos, tmp_path, small_model)
    (photos / "digit 0" / "new.png").write_bytes(next((photos / "digit 1").iterdir()).read_bytes())
    answer = kfp_vision_here(*arguments, "--once", "--min-new-share", "0.1")
    assert answer.returncode == 0, answer.stderr
    assert "of 121 files are new" in answer.stdout


def test_one_watch_at_a_time(arguments, tmp_path, kfp_vision_here):
    state = tmp_path / "out/.kfp-vision"
    state.mkdir(parents=True)
    with (state / "watch.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = kfp_vision_here(*arguments, "--once")
    assert answer.returncode == 2
    assert "One watch at a time" in answer.stderr


def test_looks_that_fail_are_said_and_counted_and_the_watch_goes_on(
    photos, tmp_path, small_model, monkeypatch
):
    parameters = make_parameters(
        {
            "dataset_uri": str(photos),
            "output_uri": str(tmp_path / "out"),
            "architecture": str(small_model),
        }
    )
    record_run(photos, tmp_path, small_model)
    champions, hidden = tmp_path / "out/champions", tmp_path / "away"
    record = (champions / "last_success.json").read_text()
    (champions / "last_success.json").write_text("half a rec")

    def second_pause(_):
        (champions / "last_success.json").write_text(record)
        photos.rename(hidden)

    def third_pause(_):
        hidden.rename(photos)
        # The folder's time is another one: the files are those that were recorded.

    pauses = iter([lambda _: None, second_pause, third_pause])

    def pause(seconds):
        step = next(pauses, None)
        if step is None:
            raise KeyboardInterrupt
        step(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    console = Console(record=True, width=400)
    with pytest.raises(KeyboardInterrupt):
        watching.watch(parameters, Triggers(), 1.0, console)
    said = console.export_text().strip().splitlines()
    assert "must be written by kfp-vision" in said[0]
    assert "(2 looks in a row have failed)" in said[1]
    assert "(3 looks in a row have failed)" in said[2]
    assert "Nothing new" in said[3]


def test_an_old_success_is_trained_with_another_seed(photos, tmp_path, small_model):
    record_run(photos, tmp_path, small_model)
    uris = {
        **{"dataset_uri": str(photos), "dataset_format": "auto", "unlabeled_uri": ""},
        **{"follow_links": False, "recipe_uri": "", "architecture": str(small_model)},
        **{"champion_uri": str(tmp_path / "out/champions"), "seed": 5},
        **{"task": "auto", "positive_class": ""},
    }
    assert not plan_here(uris, Triggers()).train
    plan = plan_here(uris, Triggers(max_age_days=1e-9))
    assert plan.train
    assert plan.seed not in (0, 5)
    assert "another seed" in plan.reason


@pytest.mark.slow
def test_a_killed_watch_is_continued_and_then_finds_nothing_new(
    arguments, photos, tmp_path, command, kfp_vision
):
    words = [*command, *map(str, arguments), "--every-minutes", "0.02"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, deadline = tmp_path / "out/logs/import-dataset.log", time.monotonic() + 300
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert read_last_success(str(tmp_path / "out/champions")) is None
    answer = kfp_vision(*arguments, "--once")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "No run has succeeded yet" in answer.stdout
    champions = str(tmp_path / "out/champions")
    last = read_last_success(champions)
    assert last is not None
    assert last.sources.num_files == 120
    assert "Nothing new" in kfp_vision(*arguments, "--once").stdout
    for number, path in enumerate(sorted((photos / "digit 0").iterdir())[:2]):
        shutil.copy(path, photos / "digit 0" / f"again-{number}.png")
    answer = kfp_vision(*arguments, "--once")
    assert "files are new" in answer.stdout
    after = read_last_success(champions)
    assert after is not None
    assert after.sources.num_files == 122
