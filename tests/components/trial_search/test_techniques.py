"""What a candidate means as a policy and as hyperparameters, and how long its trial is."""

import pytest

from kfp_vision.components.shared.augmentation.policy import IDENTITY
from kfp_vision.components.trial_search import known_policies as published
from kfp_vision.components.trial_search.beam import PLAIN, Candidate
from kfp_vision.components.trial_search.regularisation import read_candidate
from kfp_vision.components.trial_search.techniques import read_techniques

_ROTATE = {"transform": "rotate", "low": 0.0, "high": 0.2, "probability": 1.0}
_SHEAR = {"transform": "shear_x", "low": 0.0, "high": 0.3, "probability": 1.0}
_MIRROR = {"transform": "horizontal_flip", "low": 0.5, "high": 0.5, "probability": 1.0}
_GROUPS = [
    {"name": "geometry", "levels": [[_ROTATE], [_ROTATE, _SHEAR]], "always": False},
    {"name": "horizontal_flip", "levels": [[_MIRROR]], "always": True},
]
_TECHNIQUES = read_techniques(_GROUPS, {"label_smoothing": 0.1, "weight_decay": 0.02})


def _candidate(**levels: int) -> Candidate:
    candidate = PLAIN
    for name, level in levels.items():
        candidate = candidate.adding(name, level)
    return candidate


def test_the_plain_candidate_changes_nothing() -> None:
    found = read_candidate(PLAIN, _TECHNIQUES)
    assert (found.policy, found.changes) == (IDENTITY, {})


def test_groups_become_branches_and_those_for_every_image_come_besides() -> None:
    found = read_candidate(
        _candidate(horizontal_flip=0, geometry=1, cutmix=0, mixup=0), _TECHNIQUES
    )
    assert [each.transform for each in found.policy.always] == ["horizontal_flip"]
    weights = [branch.weight for branch in found.policy.branches]
    assert weights == pytest.approx([0.3, 0.35, 0.35])
    assert (found.policy.mixing.cutmix_probability, found.policy.mixing.mixup_probability) == (
        0.5,
        0.5,
    )


def test_a_pruned_transform_is_in_no_branch() -> None:
    found = read_candidate(Candidate((("geometry", 1),), ("rotate",)), _TECHNIQUES)
    used = [each.transform for branch in found.policy.branches for each in branch.operations]
    assert used == ["shear_x"]


def test_regularisers_are_values_beside_that_of_the_recipe() -> None:
    levels = {each.name: each.levels for each in _TECHNIQUES}
    assert levels["label_smoothing"] == (0.0, 0.2)
    assert levels["weight_decay"] == pytest.approx((0.1,))
    # The model of this table has neither dropout nor branches to drop.
    assert not {"dropout", "stochastic_depth"} & set(levels)
    found = read_candidate(_candidate(label_smoothing=1, weight_decay=0), _TECHNIQUES)
    assert found.policy == IDENTITY
    assert found.changes == pytest.approx({"label_smoothing": 0.2, "weight_decay": 0.1})


def test_a_published_policy_is_taken_as_it_was_published() -> None:
    found = read_candidate(_candidate(trivial_augment=0), _TECHNIQUES)
    assert found.policy == published.trivial_augment()


def test_more_for_every_image_than_a_policy_holds_is_an_error() -> None:
    names = ("horizontal_flip", "vertical_flip", "rot90", "invert")
    groups = [
        {"name": name, "levels": [[{**_MIRROR, "transform": name}]], "always": True}
        for name in names
    ]
    shift = [{**_SHEAR, "transform": f"translate_{axis}"} for axis in "xy"]
    groups.append({"name": "shift", "levels": [shift], "always": True})
    with pytest.raises(ValueError, match="at most"):
        read_candidate(_candidate(shift=0, **dict.fromkeys(names, 0)), read_techniques(groups, {}))


def test_several_operations_of_the_groups_an_image() -> None:
    one = read_candidate(_candidate(geometry=1), _TECHNIQUES).policy
    several = read_candidate(_candidate(geometry=1, several_operations=1), _TECHNIQUES).policy
    assert (one.draws, several.draws) == ((1, 1), (4, 4))
    assert several.branches == one.branches
    (technique,) = (each for each in _TECHNIQUES if each.needs)
    assert (technique.name, technique.needs) == ("several_operations", ("geometry",))
