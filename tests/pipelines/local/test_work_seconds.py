"""How long the stages of a task have worked, as its artifacts say."""

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.report.records import StageRecord, StageReport, Stages
from kfp_vision.pipelines.local.launcher import _work_seconds
from kfp_vision.pipelines.local.run_record import StageResult


def _write(folder, seconds, *records):
    folder.mkdir(parents=True)
    write_json(StageCost("last", seconds, 0), folder / "cost.json")
    held = [
        StageRecord(f"{number}", uri, StageCost("stage", each, 0), StageReport())
        for number, (uri, each) in enumerate(records)
    ]
    if held:
        write_json(Stages(held), folder / "stages.json")


def test_all_stages_of_a_task_count_and_those_before_it_do_not(tmp_path):
    run = tmp_path / "artifacts/run-1"
    train, probe = f"{run}/train-model/model", f"{run}/probe-batch-size/probe"
    _write(run / "probe-batch-size/probe", 28.0, (probe, 30.0))
    _write(
        run / "train-model/model", 0.5, (probe, 30.0), (train, 2.0), (train, 700.0), (train, 1.0)
    )
    _write(run / "publish/report", 3.0)

    def worked(name, outcome="done", seconds=720.0):
        return _work_seconds(tmp_path, StageResult(name, outcome, seconds, 0.0))

    assert worked("train-model") == 702.5
    assert worked("probe-batch-size") == 28.0
    assert worked("publish") == 3.0
    assert worked("train-model", "cached") == 0.0
    # A process before this one, which was killed, has worked, too.
    assert worked("train-model", seconds=90.0) == 90.0
