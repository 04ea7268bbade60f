"""What was tried beside a plain training is one picture: gains with intervals, kept or not."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from report_artifacts import Artifacts
from search_artifacts import SEARCH

from kfp_vision.components.distillation.stage_report import distillation_report
from kfp_vision.components.pretraining.stage_report import pretraining_report
from kfp_vision.components.reporting.arms import arm_bars
from kfp_vision.components.reporting.build import build_report
from kfp_vision.components.self_training.stage_report import self_training_report
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.distillation_result import DistillationResult
from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.artifacts.pretraining_result import PretrainingResult
from kfp_vision.components.shared.artifacts.self_training_result import (
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.artifacts.teachers_result import Member, TeachersResult, Tried
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.report.page import render_page
from kfp_vision.components.shared.report.records import (
    Arm,
    Section,
    StageRecord,
    StageReport,
    Stages,
)
from kfp_vision.components.teachers.stage_report import teachers_report
from kfp_vision.components.trial_search.report_trials import confirmed_arm

REFUSED, KEPT = Gain(-0.02, -0.09, 0.05), Gain(0.21, 0.11, 0.31)


def _round(number: int, gain: Gain) -> RoundResult:
    return RoundResult(
        number, "noisy student", 900, 4000, 80, 0.4, gain, gain.is_accepted, None, None, 30.0
    )


def _member(kind: str, architecture: str, weight: float) -> Member:
    return Member(kind, architecture, [32, 32], 1000, 4000, 20.0, 0.5, 0.8, 0.05, weight)


def _section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)
    assert found
    return found[0]


def _badges(section: str) -> list[str]:
    return re.findall(r'class="badge [a-z]*">(\w+)<', section)


@pytest.fixture
def stage_reports(digits_run: Artifacts) -> list[StageReport]:
    members = [
        _member("model", "separable", 0.25),
        _member("pretrained", "efficientnet_lite0_imagenet", 0.75),
    ]
    tried = [Tried("average", 0.5, REFUSED), Tried("greedy", 0.4, KEPT)]
    together = TeachersResult(
        members=members,
        judges=300,
        tried=tried,
        kept="greedy",
        disagreement=[[0.0, 0.2], [0.2, 0.0]],
        calibration_error=0.02,
        image_size=[32, 32],
        parameters=2000,
        is_deployed=True,
        seconds=61.0,
    )
    return [
        pretraining_report(
            PretrainingResult(unlabeled=900, chosen="SimCLR", gain=REFUSED, seconds=40.0), False
        ),
        self_training_report(
            SelfTrainingResult(
                unlabeled=900,
                asked=900,
                trials=[_round(0, KEPT)],
                rounds=[_round(1, KEPT), _round(2, REFUSED)],
            ),
            is_wanted=False,
        ),
        teachers_report(together, digits_run.training, is_wanted=True, is_too_late=False),
        distillation_report(DistillationResult(gain=REFUSED, seconds=50.0), is_wanted=True),
    ]


@pytest.fixture
def built(digits_run: Artifacts, stage_reports: list[StageReport], tmp_path: Path) -> Path:
    folder = digits_run.write(tmp_path / "run")
    records = digits_run.records()
    own = [
        StageRecord(f"arm{at}", "/runs", StageCost(f"arm{at}", 1.0, 1), each)
        for at, each in enumerate(stage_reports)
    ]
    place = 1 + [record.artifact for record in records].index("model")
    records[place:place] = own
    (folder / "stages.json").write_text(json_text(Stages(records)), encoding="utf-8")
    build_report(folder, tmp_path / "report")
    return tmp_path / "report"


def test_every_arm_is_in_the_report_with_its_interval(built: Path) -> None:
    arms = json.loads((built / "report.json").read_text())["arms"]
    assert [(arm["name"], arm["kept"]) for arm in arms] == [
        ("augmentation and regularisation", True),
        ("pretraining: SimCLR", False),
        ("self-training: noisy student, trial", True),
        ("self-training: noisy student, round 1", True),
        ("self-training: noisy student, round 2", False),
        ("ensemble: greedy selection", True),
        ("distillation", False),
    ]
    assert arms[1]["ci95"] == [-0.09, 0.05]
    page = (built / "report.html").read_text(encoding="utf-8")
    found = _section(page, "arms")
    assert "3 of 7 changed the model." in found
    assert _badges(found) == ["kept", "refused", "helped", "kept", "refused", "kept", "refused"]
    # Each stage corrects its intervals for what it has tried itself.
    assert "for all that its stage tried together, not for all stages" in found
    # Before the sections of the stages.
    assert page.index('href="#results"') < page.index('href="#arms"') < page.index('"#search"')


def test_the_tables_of_the_stages_say_the_same_word_as_the_picture(built: Path) -> None:
    page = (built / "report.html").read_text(encoding="utf-8")
    assert _badges(_section(page, "self-training")) == ["helped", "kept", "refused"]
    assert _badges(_section(page, "teachers")) == ["refused", "kept"]


def test_a_trial_and_a_teacher_that_helped_have_not_changed_the_model(
    digits_run: Artifacts, tmp_path: Path
) -> None:
    tried = SelfTrainingResult(unlabeled=900, asked=900, trials=[_round(0, KEPT)])
    teachers = TeachersResult(tried=[Tried("greedy", 0.4, KEPT)], kept="greedy", judges=300)
    arms = [
        *self_training_report(tried, False).arms,
        *teachers_report(teachers, digits_run.training, False, False).arms,
        *distillation_report(DistillationResult(gain=REFUSED), False).arms,
    ]
    assert [(arm.is_kept, arm.is_step) for arm in arms] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    section = Section("arms", "Gains", "reporting/arms.html", vars(arm_bars(arms)))
    page = render_page("Gains", {}, Recipe(), [section])
    assert "Nothing changed the model: it is that of the plain training." in page
    assert "What helped in a trial or as a teacher is not in the model by that." in page
    assert (page.count(">helped<"), page.count(">refused<"), ">kept<" in page) == (2, 1, False)


def test_a_deployed_ensemble_is_the_model_of_the_report(built: Path) -> None:
    model = json.loads((built / "report.json").read_text())["model"]
    assert model["architecture"] == "ensemble of separable, efficientnet_lite0_imagenet"
    assert (model["parameters"], model["image_size"]) == (2000, [32, 32])
    assert model["plain_training_s"] > 0


def test_an_arm_alone_is_in_its_own_section(digits_run: Artifacts, tmp_path: Path) -> None:
    report = build_report(digits_run.write(tmp_path / "run"), tmp_path / "report")
    assert len(report["arms"]) == 1
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert '<section id="arms">' not in page


def test_bars_begin_at_zero_and_lie_within_their_intervals() -> None:
    held = arm_bars([Arm("a", KEPT, True, 1.0), Arm("b", REFUSED, False, 1.0)])
    for row in held.rows:
        ends = sorted([held.zero, held.zero + row["width"] * (1 if row["is_kept"] else -1)])
        assert [row["left"], row["left"] + row["width"]] == pytest.approx(ends)
        low, width = row["whisker"]
        far = row["left"] + (row["width"] if row["is_kept"] else 0.0)
        assert low < far < low + width
        assert 0 <= low <= low + width <= 100.001


def test_an_interval_of_any_width_leaves_the_bars_to_be_seen() -> None:
    wide = Gain(0.01, -1e6, 1e6)
    held = arm_bars([Arm("a", KEPT, True, 1.0), Arm("b", wide, False, 1.0)])
    assert held.rows[0]["width"] > 10
    assert held.rows[1]["whisker"] == pytest.approx([0.0, 100.0])


def test_nothing_gained_is_drawn_too() -> None:
    held = arm_bars([Arm("a", Gain(0.0, 0.0, 0.0), False, 0.0)] * 2)
    assert [row["width"] for row in held.rows] == [0.0, 0.0]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_what_the_user_has_asked_for_is_missed_with_the_reason(
    digits_run: Artifacts, is_wanted: bool
) -> None:
    skipped = "the budget leaves 3 s, and it takes 30"
    reports = [
        pretraining_report(PretrainingResult(skipped), is_wanted),
        self_training_report(SelfTrainingResult(skipped), is_wanted),
        teachers_report(TeachersResult(skipped), digits_run.training, is_wanted, False),
        distillation_report(DistillationResult(skipped), is_wanted),
    ]
    warnings = [warning for report in reports for warning in report.warnings]
    codes = [f"{name}_skipped" for name in ("pretraining", "self_training", "teachers")]
    assert [each.code for each in warnings] == (
        [*codes, "distillation_skipped"] if is_wanted else []
    )
    assert all(skipped in each.message for each in warnings)
    assert not any(report.sections or report.arms for report in reports)


def test_a_search_that_confirmed_nothing_is_no_arm() -> None:
    assert confirmed_arm(dataclasses.replace(SEARCH, confirmed=None)) == []
