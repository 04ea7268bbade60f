"""The page of distillation says which images the teacher could be asked about, and which not."""

import dataclasses

from kfp_vision.components.distillation.stage_report import distillation_report
from kfp_vision.components.shared.artifacts.distillation_result import (
    DistillationResult,
    TeachingTrial,
)
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.report.page import render_page

RESULT = DistillationResult(images=5000, pictures=1200, gain=Gain(0.2, 0.1, 0.3), is_kept=True)


def _page(result: DistillationResult) -> str:
    report = distillation_report(result, is_wanted=True)
    return render_page("Teacher", report.summary, Recipe(), report.sections)


def test_images_are_those_to_choose_from() -> None:
    page = _page(RESULT)
    label = page.index("Images to choose from, and pictures of them that the teacher was asked")
    assert "5,000, 1,200" in page[label : label + 200]


def test_copies_that_were_left_out_are_shown_where_there_are_any() -> None:
    label = "Images without labels left out: copies of validation or test images"
    assert label not in _page(RESULT)
    page = _page(dataclasses.replace(RESULT, copies=4321))
    assert "4,321" in page[page.index(label) : page.index(label) + 200]


def test_a_trial_that_diverged_is_named() -> None:
    trials = [TeachingTrial(1.0, 0.0, 0.0, None), TeachingTrial(2.0, 0.0, 0.0, 0.75)]
    page = _page(dataclasses.replace(RESULT, trials=trials))
    rows = page.split("Weight of the features</th>")[1].split("</table>")[0].split("<tr>")[1:]
    assert ["diverged" in each for each in rows] == [True, False]
    assert "0.75" in rows[1]
