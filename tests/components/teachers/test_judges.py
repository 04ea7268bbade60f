"""What judges of an imbalanced set say of members that were trained with class weights."""

from typing import Any

import numpy as np
import pytest

from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.teachers.ensemble import WAYS, select_greedily
from kfp_vision.components.teachers.judges import Judges


def judges_of(imbalanced: Any, *, with_weights: bool) -> Judges:
    weights = imbalanced.class_weights if with_weights else None
    targets = {"label": imbalanced.labels}
    return Judges(get_task("multiclass"), targets, "balanced_accuracy", weights)


def test_a_way_that_undoes_the_class_weights_is_refused(imbalanced: Any) -> None:
    ways = {"undone": lambda rows: imbalanced.natural}
    judges = judges_of(imbalanced, with_weights=True)
    tried, kept = judges.try_ways(imbalanced.weighted, ways)
    assert kept == ""
    assert tried[0].gain.high < 0
    before, after = judges.value(imbalanced.weighted), judges.value(imbalanced.natural)
    assert before is not None
    assert after is not None
    assert after < before - 0.1
    # It is the better one where every image counts the same.
    judges = judges_of(imbalanced, with_weights=False)
    assert judges.try_ways(imbalanced.weighted, ways)[1] == "undone"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_made_of_weighted_members_finds_the_rare_class_as_often(
    imbalanced: Any, way: str
) -> None:
    """Every way is fitted as it is judged."""
    noise = np.random.default_rng(1).normal(0, 0.3, (2, *imbalanced.weighted.shape))
    outputs = imbalanced.weighted + noise
    judges = judges_of(imbalanced, with_weights=True)
    rows = np.arange(len(judges))
    made = WAYS[way](outputs, judges.labels, judges.image_weights(rows))(outputs)
    best = judges.value(imbalanced.weighted)
    assert judges.value(made) == pytest.approx(best, abs=0.02)


def test_greedy_selection_leaves_out_the_member_that_undoes_the_weights(imbalanced: Any) -> None:
    outputs = np.stack([imbalanced.natural, imbalanced.weighted])
    judges = judges_of(imbalanced, with_weights=True)
    rows = np.arange(len(judges))
    chosen, plain = (
        select_greedily(outputs, judges.labels, weights)
        for weights in (judges.image_weights(rows), None)
    )
    assert chosen.weights[1] > 0.9
    assert plain.weights[0] > 0.9
