"""The section on the network: what was compared, and what flips and shifts did."""

import dataclasses
import re
from pathlib import Path

import pytest
from report_artifacts import Artifacts

from kfp_vision.components.network_choice.stage_report import choice_report
from kfp_vision.components.reporting.build import build_report
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.network_choice import (
    Augmentation,
    CandidateResult,
    NetworkChoice,
)
from kfp_vision.components.shared.report.records import STAGES_FILE, StageRecord, Stages

NETWORK = "efficientnet_lite0_imagenet"
FROZEN = CandidateResult(
    NETWORK, [96, 96], "head", True, 70_000_000, [0.62], [1000], [9.0], 0.62, (0.2, 0.03)
)
TUNED = CandidateResult(
    *(NETWORK, [96, 96], "all", True, 70_000_000),
    losses=[0.55, 0.48],
    images_seen=[1200, 2400],
    seconds=[30.0, 35.0],
    projected=0.42,
    chosen=True,
)
CHOICE = NetworkChoice(candidates=[FROZEN, TUNED], num_held_out=800, seconds=120.0)


def text_of(digits_run: Artifacts, folder: Path, augmentation: Augmentation | None) -> str:
    report = choice_report(dataclasses.replace(CHOICE, augmentation=augmentation))
    record = StageRecord("choice", "/runs/choice", StageCost("choose_network", 120.0, 5000), report)
    written = digits_run.write(folder / "run")
    write_json(Stages([*digits_run.records(), record]), written / STAGES_FILE)
    build_report(written, folder / "out")
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    found = re.search(r'<section id="choice">.*?</section>', page, re.DOTALL)
    assert found
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("augmentation", "sentence"),
    [
        (
            Augmentation(-0.013, 0.006, is_used=True),
            "Flips and shifts lower the loss of the fine-tuned network by 0.013 ± 0.006 nats in a "
            "short training, with half of the images mirrored and all of them shifted by up to an "
            "eighth. They do no harm that shows, so the training has them unless a search finds "
            "another policy.",
        ),
        (
            Augmentation(0.21, 0.03, is_used=False),
            "Flips and shifts raise the loss of the fine-tuned network by 0.21 ± 0.03 nats in a "
            "short training, with half of the images mirrored and all of them shifted by up to an "
            "eighth. So the training does without them.",
        ),
    ],
)
def test_what_flips_and_shifts_did_is_said(
    digits_run: Artifacts, tmp_path: Path, augmentation: Augmentation, sentence: str
) -> None:
    text = text_of(digits_run, tmp_path, augmentation)
    assert sentence in text
    assert "2 candidates were compared by short trainings, on 800 images" in text


def test_without_that_trial_nothing_is_said_of_them(digits_run: Artifacts, tmp_path: Path) -> None:
    assert "Flips" not in text_of(digits_run, tmp_path, None)
