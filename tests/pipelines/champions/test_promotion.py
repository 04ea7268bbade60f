"""What publishing does to a folder of champions, by the decision of the evaluation."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import pytest

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.source_files import source_files, write_source_files
from kfp_vision.components.shared.champions.known_images import KnownImages
from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    fetch_known_images,
    promote,
    read_champions,
    read_lineage,
)
from kfp_vision.components.shared.runtime.storage import StorageError, open_folder
from kfp_vision.pipelines.champions.checking import check_champions
from kfp_vision.pipelines.champions.promotion import describe_outcome, enter_champions

FACTS = ImportFacts("photos", "1", 0)


@pytest.fixture
def results(tmp_path):
    """Writes the artifacts of a run; returns their folders."""

    def write(comparison: ChampionComparison | None, status: str = "passed"):
        name = comparison.version if comparison else "none"
        folders = [tmp_path / name / each for each in ("evaluation", "exports", "report")]
        for folder in folders:
            folder.mkdir(parents=True)
        evaluation, exports, report = folders
        score = {"value": 0.9, "ci95": [0.8, 0.95]}
        write_json(
            Evaluation(
                *("accuracy", {"test": {"accuracy": score}}, {}, [], [], {}, {}, [], True, []),
                champion=comparison,
            ),
            evaluation / "evaluation.json",
        )
        KnownImages().write(evaluation / "images.parquet")
        entry = {"path": "model.onnx", "metrics": {"accuracy": 0.9}}
        write_json({"exports": [entry]}, exports / "exports.json")
        for file in (exports / "model.onnx", exports / "model.json", report / "report.html"):
            file.write_text(name)
        for file in (
            exports / "README.md",
            exports / "recipe.json",
            evaluation / "predictions.parquet",
        ):
            file.write_text(name)
        (report / "recipe.json").write_text(name)
        content = {"status": status, "reason": "why", "dataset": {"fingerprint": "f"}}
        champion = dataclasses.asdict(comparison) if comparison else None
        write_json({**content, "champion": champion}, report / "report.json")
        return folders

    return write


def compared(uri, version, champion, decision, promotes):
    sentence = f"{version} is {decision}."
    return ChampionComparison(
        uri, version, "now", champion, decision, promotes, sentence, "not_worse", 0.02, "accuracy"
    )


@pytest.fixture(params=["disk", "s3", "gs"])
def uri(request, tmp_path):
    if request.param == "disk":
        return str(tmp_path / "champions")
    return request.getfixturevalue(request.param)


def enter(folders, uri):
    sources = folders[0].parent / "sources"
    write_source_files(source_files({}, [1]), sources)
    evaluation, exports, report = folders
    return enter_champions(evaluation, exports, report, sources, uri, "out", FACTS, "base")


def test_generations_of_models(results, uri, capsys):
    enter(results(compared(uri, "v1", "", "first", True)), uri)
    worse = results(compared(uri, "v2", "v1", "worse", False))
    enter(worse, uri)
    # A retry of the task.
    enter(worse, uri)
    better = compared(uri, "v3", "v1", "better", True)
    enter(results(better), uri)
    enter(results(compared(uri, "v4", "v3", "same", False)), uri)
    champions = read_champions(uri)
    assert [(each.version, each.kind) for each in champions.history] == [
        ("v1", "promoted"),
        ("v2", "kept"),
        ("v3", "promoted"),
    ]
    lineage = read_lineage(uri, "v3")
    assert (lineage.imported, lineage.split_version) == (FACTS, "base")
    assert lineage.metrics == {"accuracy": {"value": 0.9, "ci95": [0.8, 0.95]}}
    assert lineage.comparison == dataclasses.asdict(better)
    names = {"report.html", "report.json", "recipe.json", "model/model.onnx", "model/model.json"}
    assert names | {"sources/files.u64"} < {*lineage.files}
    assert len(fetch_known_images(uri, "v2")) == 0
    folder, _ = open_folder(f"{uri}/versions/v2")
    assert folder.read("model/model.onnx") == b"v2"
    said = capsys.readouterr().out
    assert f"Challenger {uri}/versions/v2: v2 is worse." in said
    assert describe_outcome(better) == f"Champion {uri}/versions/v3: v3 is better."
    same = compared(uri, "v4", "v3", "same", False)
    assert describe_outcome(same) == "Champion v3: v4 is same."


@pytest.mark.parametrize("uri", ["disk"], indirect=True)
def test_a_rejected_model_does_not_enter(results, uri):
    assert not enter(results(None, "rejected"), uri)
    # No format could be exported, although the evaluation has passed it.
    assert not enter(results(compared(uri, "v1", "", "first", True), "rejected"), uri)
    assert read_champions(uri).history == ()


@pytest.mark.parametrize("uri", ["disk"], indirect=True)
def test_a_challenger_of_another_champion_says_so(results, uri):
    assert enter(results(compared(uri, "v1", "", "first", True)), uri)
    # No success is recorded: the next run compares it with v1.
    assert not enter(results(compared(uri, "v2", "", "first", True)), uri)
    assert read_champions(uri).champion == "v1"
    second = compared(uri, "v2", "", "first", True)
    assert "meanwhile v1 has become the champion" in describe_outcome(second)
    promote(uri, "v2", "By hand.")
    assert describe_outcome(second) == f"Champion {uri}/versions/v2: By hand."


def test_the_folder_is_checked_before_the_first_task(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`champion_uri` must be a folder"):
        check_champions(str(tmp_path / "file/champions"))
    check_champions(str(tmp_path / "champions"))
    (tmp_path / "champions/champion.json").write_text("{}")
    with pytest.raises(ValueError, match=r"champion\.json must be written by kfp-vision"):
        check_champions(str(tmp_path / "champions"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_task():
    # Not below `tmp_path`, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        os.seteuid(65534)
        try:
            with pytest.raises(StorageError, match=r"Cannot reach .*Permission denied"):
                check_champions(folder)
        finally:
            os.seteuid(0)


class TestCommands:
    @pytest.fixture
    def uri(self, results, tmp_path):
        uri = str(tmp_path / "champions")
        enter(results(compared(uri, "v1", "", "first", True)), uri)
        enter(results(compared(uri, "v2", "v1", "worse", False)), uri)
        return uri

    def test_list(self, uri, kfp_vision_here):
        answer = kfp_vision_here("champions", uri)
        assert answer.returncode == 0
        assert f"The champion is v1: {uri}/versions/v1" in answer.stdout
        assert "accuracy 0.9000" in answer.stdout
        document = json.loads(kfp_vision_here("champions", uri, "--json").stdout)
        assert document["champion"] == "v1"
        assert len(document["history"]) == 2

    def test_promote_and_roll_back(self, uri, kfp_vision_here):
        answer = kfp_vision_here("promote", "v2", "--champion-uri", uri, "--reason", "It is new.")
        assert "The champion is v2" in answer.stdout
        assert read_champions(uri).history[-1].reason == "It is new."
        assert (
            "must not be the champion"
            in kfp_vision_here("promote", "v2", "--champion-uri", uri).stderr
        )
        assert "The champion is v1" in kfp_vision_here("rollback", "--champion-uri", uri).stdout
        refused = kfp_vision_here("rollback", "--champion-uri", uri)
        assert refused.returncode == 2
        assert "A rollback needs a champion and one before it" in refused.stderr

    def test_what_is_not_there(self, uri, kfp_vision_here, tmp_path):
        refused = kfp_vision_here("promote", "v9", "--champion-uri", uri)
        assert refused.returncode == 2
        assert "A version must be one of" in refused.stderr
        empty = kfp_vision_here("champions", tmp_path / "nothing")
        assert empty.returncode == 0
        assert "There is no champion" in empty.stdout
