"""A schedule of one minute on a real server: it trains what is new, and the gate decides."""

import dataclasses
import itertools
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_backend import COMMAND, RUN_S, Backend, uploaded, write_digits

from kfp_vision.components.shared.champions.store import read_champions, read_lineage
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.pipelines.cluster.runs import Run, read_run

pytestmark = pytest.mark.e2e
FIRST_TASK, LAST_TASK = "decide-retraining", "check-model"
# A minute until the next firing, and what the controller takes on a busy machine.
FIRING_S = 600.0
# As few epochs as a model takes that passes.
PARAMETERS = {
    **{"architecture": "separable", "epochs": 60, "preset": "best"},
    **{"learn_batch_size": False, "search_augmentation": False},
}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule on the server, whose experiment has its name.

    Attributes:
        root: Folder of the bucket with `data/`, `out/` and `champions/`.
        file: That `kfp-vision schedule` reads.
    """

    backend: Backend
    name: str
    root: str
    file: Path

    def call(self, action: str) -> str:
        """Runs `schedule ACTION FILE` and returns what it says of the schedule."""
        answer = self.backend.call("schedule", action, self.file)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout.removeprefix(f"{self.name}: ").strip()

    def fired(self) -> list[Any]:
        """Returns the runs that it has started, oldest first, as the API shows them."""
        client = self.backend.client
        experiment = client.get_experiment(
            experiment_name=self.name, namespace=client.get_user_namespace() or None
        )
        listed = client.list_runs(experiment_id=experiment.experiment_id, page_size=100)
        return sorted(listed.runs or [], key=lambda each: each.created_at)

    def firing(self, index: int) -> str:
        """Returns the ID of one of its runs, from 0, when it has begun."""
        deadline = time.monotonic() + FIRING_S
        while len(fired := self.fired()) <= index:
            assert time.monotonic() < deadline, f"{len(fired)} runs after {FIRING_S} s"
            time.sleep(1)
        return str(fired[index].run_id)

    def ended(
        self, index: int, watch: Callable[[Run], object] = lambda run: None
    ) -> tuple[list[str], str]:
        """Returns the stages of one of its runs, from 0, and what its first one has said."""
        run_id = self.firing(index)
        run = self.backend.wait(run_id, RUN_S, watch)
        assert run.state == "SUCCEEDED", self.backend.call("status", run_id).stdout
        stages = run.workflow.stages
        said = self.backend.log(stages[0].attempts[-1].pod)
        return [stage.name for stage in stages], "\n".join(said)


@pytest.fixture
def schedule(backend: Backend, digits: Path, tmp_path: Path) -> Iterator[Schedule]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    with uploaded(backend, digits, name) as root:
        names = {"dataset": "data", "output": "out", "champion": "champions"}
        uris = {f"{key}_uri": f"{root}/{folder}" for key, folder in names.items()}
        content = {
            **{"name": name, "experiment": name, "cron": "0 * * * * *"},
            **{key[2:]: value for key, value in zip(*[iter(backend.options)] * 2, strict=True)},
            "parameters": {**uris, **PARAMETERS},
        }
        file = tmp_path / "schedule.yaml"
        file.write_text(yaml.safe_dump(content))
        made = Schedule(backend, name, root, file)
        try:
            yield made
        finally:  # Else it fires for ever.
            made.call("delete")
            for each in made.fired():
                if not read_run(backend.client, each.run_id).ended:
                    backend.client.terminate_run(each.run_id)


def test_a_schedule_of_one_minute(schedule: Schedule, tmp_path):
    assert schedule.call("apply") == "created"
    assert schedule.call("apply") == "unchanged"
    stages, said = schedule.ended(0)
    assert (stages[0], stages[-1]) == (FIRST_TASK, LAST_TASK)
    assert "No run has succeeded yet" in said
    uri = f"{schedule.root}/champions"
    first = read_champions(uri).champion
    assert first

    stages, said = schedule.ended(1)
    assert stages == [FIRST_TASK]
    assert "Nothing new: no file has changed" in said
    assert schedule.call("apply") == "unchanged"

    write_digits(tmp_path / "new", 30, first=60)
    upload(tmp_path / "new", f"{schedule.root}/data")
    deleted: list[str] = []

    def delete(run: Run) -> None:
        if len(run.workflow.stages) > 1 and not deleted:
            deleted.append(schedule.call("delete"))

    runs = 2
    while len(stages) == 1:  # One may have begun before the new images were there.
        stages, said = schedule.ended(runs, delete)
        runs += 1
    assert stages[-1] == LAST_TASK
    assert "files are new, changed or gone" in said
    champions = read_champions(uri)
    second = champions.history[-1].version
    comparison = read_lineage(uri, second).comparison
    assert [each.version for each in champions.history] == [first, second]
    assert comparison["champion"] == first
    assert champions.champion == (second if comparison["promotes"] else first)

    other = first if comparison["promotes"] else second
    for command, champion in ((("promote", other), other), (("rollback",), champions.champion)):
        subprocess.run([COMMAND, *command, "--champion-uri", uri], check=True, capture_output=True)
        assert read_champions(uri).champion == champion

    # It was deleted while that run was under way: the run went on, and no other one has begun.
    assert deleted == ["deleted"]
    assert schedule.call("delete") == "not there"
    fired = schedule.fired()
    assert len(fired) == runs
    for before, after in itertools.pairwise(fired):
        assert before.finished_at <= after.created_at
