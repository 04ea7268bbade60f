"""The pipeline of a schedule on the strict backend: nothing new, new images, a whole training."""

import dataclasses
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from strict_backend import Backend
from wire_format import Refused

from kfp_vision.components.data_import.source_version import list_source_files
from kfp_vision.components.shared.runtime.storage import open_folder, upload
from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.placement import SECRET_KEYS
from kfp_vision.pipelines.cluster.profile import Profile
from kfp_vision.pipelines.resources import STAGES
from kfp_vision.pipelines.retraining.last_success import read_last_success, write_last_success

FIRST = ["decide-retraining"]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    compile_pipeline(path, Profile(secret="storage"), trial_workers=1, scheduled=True)
    return path


@dataclasses.dataclass
class Schedule:
    """Runs the pipeline as a schedule does."""

    root: str
    package: Path
    disks: Path
    secret: dict[str, str]
    logs: dict[str, str] = dataclasses.field(default_factory=dict)

    def fire(self, **changes: object) -> list[str]:
        """Returns the names of the tasks that have run."""
        backend = Backend(self.disks, self.root, self.secret)
        self.logs = backend.logs
        names = ("output", "checkpoint", "champion")
        uris = {f"{name}_uri": f"{self.root}/{name}" for name in names}
        backend.run(self.package, {"dataset_uri": f"{self.root}/digits", **uris, **changes})
        return [re.sub(r"^\d+-", "", name) for name in backend.logs]

    def record_success(self) -> None:
        """Records that what lies in the bucket now has been trained."""
        champion = f"{self.root}/champion"
        uris = (f"{self.root}/digits", "auto", "", False, "", "auto", champion)
        write_last_success(champion, list_source_files(*uris, 0), datetime.now(UTC))


@pytest.fixture
def schedule(s3, digits_folder, tmp_path, package) -> Schedule:
    for label in range(2):
        for path in sorted((digits_folder / f"digit {label}").iterdir())[:80]:
            upload(path, f"{s3}/digits/digit {label}/{path.name}")
    secret = {key: os.environ[key] for key in SECRET_KEYS if key in os.environ}
    return Schedule(s3, package, tmp_path / "disks", secret)


def test_nothing_new_ends_as_success_with_the_first_task(schedule):
    schedule.record_success()
    assert schedule.fire() == FIRST
    assert "Nothing new" in schedule.logs["01-decide-retraining"]


def test_another_hour_of_the_zone_ends_it_before_anything_is_looked_for(schedule):
    # Made by the server for 18:00 in UTC, the 3rd of July in Tokyo.
    times = {"cron": "0 0 3 1 * ?", "time_zone": "Asia/Tokyo", "created_at": "20260702180005"}
    assert schedule.fire(**times) == FIRST
    said = schedule.logs["01-decide-retraining"]
    assert "Nothing is looked for at 03:00 in Asia/Tokyo" in said
    assert "clone this run with an empty `time_zone`" in said


@pytest.mark.long
def test_new_images_start_the_others(schedule, digits_folder):
    schedule.record_success()
    new = max((digits_folder / "digit 0").iterdir())
    upload(new, f"{schedule.root}/digits/digit 0/{new.name}")
    assert schedule.fire(min_new_share=0.5) == FIRST
    # A task that fails early shows that the others have begun.
    with pytest.raises(Refused, match="check-profile: exit code 1"):
        schedule.fire(accept_findings="nonsense")


@pytest.mark.slow
def test_the_first_firing_trains_and_the_second_finds_nothing_new(schedule):
    given = {"architecture": "separable", "epochs": 200, "learn_batch_size": False}
    names = schedule.fire(**given, search_augmentation=False)
    several_workers = {
        *("search_augmentation", "propose_first_trials", "propose_next_trials"),
        *("run_trials", "decide_trials"),
        *("train_model_alone", "train_members", "teach_model"),
    }
    left_out = several_workers | {"list_sources"}
    assert {name.replace("-", "_") for name in names} == set(STAGES) - left_out
    last = read_last_success(f"{schedule.root}/champion")
    assert last is not None
    assert last.sources.num_files == 160
    assert open_folder(f"{schedule.root}/output")[0].exists("model/model.onnx")
    assert schedule.fire(**given, search_augmentation=False) == FIRST
