"""The rule of the gate on cases whose answer is known, and how often it is wrong."""

import numpy as np
import pytest

from kfp_vision.components.evaluation.bootstrap import score_against_rivals
from kfp_vision.components.evaluation.champion_rules import Gate, decide, explain
from kfp_vision.components.shared.artifacts.champion_comparison import ComparedPart
from kfp_vision.components.shared.tasks import get_task


@pytest.mark.parametrize(
    ("low", "high", "decision", "not_worse", "better"),
    [
        (0.001, 0.02, "better", True, True),
        (0.0, 0.02, "not_worse", True, False),
        (-0.019, -0.001, "not_worse", True, False),
        (-0.02, 0.03, "undecided", False, False),
        (-0.3, 0.0, "undecided", False, False),
        (-0.05, -0.001, "worse", False, False),
    ],
)
def test_the_interval_decides(low, high, decision, not_worse, better):
    assert decide(low, high, 0.02) == decision
    assert Gate("not_worse", 0.02).opens(decision) == not_worse
    assert Gate("better", 0.02).opens(decision) == better


def test_champions_of_a_year_lose_no_more_than_the_margin():
    """Each model is 0.008 below the one before, and surely within the margin of it."""
    metric, best, below, promoted = 0.9, 0.9, 0.0, 0
    for _ in range(50):
        decision = decide(-0.018, 0.002, 0.02, -0.008, below)
        if Gate("not_worse", 0.02).opens(decision):
            metric, below, promoted = metric - 0.008, below + 0.008, promoted + 1
    assert promoted == 2
    assert best - metric <= 0.02
    # What is as good as the champion, or better, still replaces it.
    assert decide(-0.01, 0.01, 0.02, 0.0, below) == "not_worse"
    assert decide(0.001, 0.02, 0.02, 0.01, below) == "better"


def test_what_was_not_compared_opens_no_gate_but_the_first():
    for gate in (Gate("not_worse"), Gate("better")):
        assert gate.opens("first")
        assert not gate.opens("same")
        assert not gate.opens("not_comparable")


@pytest.mark.parametrize("margin", [-0.01, 1.0, float("nan")])
def test_a_margin_is_a_difference_of_metrics(margin):
    with pytest.raises(ValueError, match="`champion_margin` must be at least 0 and below 1"):
        Gate("not_worse", margin)


def draw_pair(generator, num_images, both, only_model, only_champion):
    """Returns records of two models: shares of the images that both, or one alone, get right."""
    kind = generator.choice(
        4, num_images, p=[both, only_model, only_champion, 1 - both - only_model - only_champion]
    )
    labels = generator.integers(2, size=num_images)
    models = []
    for right in (kind <= 1, (kind == 0) | (kind == 2)):
        models.append(
            {"label": labels, "probabilities": np.eye(2)[np.where(right, labels, 1 - labels)]}
        )
    return models


def difference(pair):
    model, champion = pair
    _, rivals = score_against_rivals(get_task("binary", 1), model, {"it": champion}, 200, 0)
    return rivals["it"]["accuracy"]["difference"]


@pytest.mark.parametrize(
    ("worse_by", "decisions"), [(0.05, {"undecided", "worse"}), (0.0, {"not_worse", "undecided"})]
)
def test_the_gate_is_rarely_wrong(worse_by, decisions):
    """At the margin itself one of 40 passes; 300 simulated test sets of 400 images."""
    generator, margin = np.random.default_rng(0), 0.05
    share = dict.fromkeys(("better", "not_worse", "undecided", "worse"), 0.0)
    covered = 0
    for _ in range(300):
        found = difference(draw_pair(generator, 400, 0.85, 0.05, 0.05 + worse_by))
        low, high = found["ci95"]
        share[decide(low, high, margin)] += 1 / 300
        covered += low <= -worse_by <= high
    # Three standard errors of 300 trials around 2.5 %, and around 95 %.
    assert covered / 300 == pytest.approx(0.95, abs=0.038)
    if worse_by == margin:
        assert share["better"] + share["not_worse"] <= 0.025 + 0.027
    else:
        assert share["better"] <= 0.025 + 0.027
        assert share["worse"] <= 0.025 + 0.027
    assert max(share, key=lambda name: share[name]) in decisions


def part(value, low, high, num_images=100):
    held = {"value": 0.9, "ci95": [0.8, 0.95]}
    return ComparedPart("all", num_images, held, held, {"value": value, "ci95": [low, high]})


@pytest.mark.parametrize(
    ("decision", "rule", "figures", "message"),
    [
        (
            "better",
            "better",
            part(0.1, 0.05, 0.15),
            "replaces the champion v1, because it is better",
        ),
        ("not_worse", "not_worse", part(0.0, -0.01, 0.01), "not worse by more than 0.02: accuracy"),
        ("not_worse", "better", part(0.0, -0.01, 0.01), "not clearly better, as the rule `better`"),
        ("worse", "not_worse", part(-0.1, -0.2, -0.05), "It is clearly worse."),
        ("undecided", "not_worse", part(-0.05, -0.1, 0.0), "It may be below -0.02."),
        # Half a width of 0.06 must become one of 0.02: nine times the images.
        ("undecided", "not_worse", part(0.0, -0.06, 0.06), "takes about 900 test images"),
        ("same", "not_worse", part(0.0, 0.0, 0.0), "predicts the same of every image"),
        (
            "drifted",
            "not_worse",
            part(-0.015, -0.019, 0.0),
            "0.0100 below the best one before it: together that is more than 0.02",
        ),
    ],
)
def test_the_sentence_says_why(decision, rule, figures, message):
    assert message in explain(decision, Gate(rule, 0.02), "v1", "accuracy", figures, 0.01)
