"""What a candidate means as a policy and as hyperparameters."""

import pytest

from kfp_vision.components.shared.artifacts.augmentation_table import Group
from kfp_vision.components.shared.artifacts.search_result import BASELINE, Candidate
from kfp_vision.components.shared.augmentation import known_policies
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Operation
from kfp_vision.components.trial_search.regularisation import read_candidate
from kfp_vision.components.trial_search.techniques import is_compatible, read_techniques

_SHIFT = {"translate_x": 0.25, "translate_y": 0.25}
_GROUPS = [
    Group("geometry", [{"rotate": 0.2}, {"rotate": 0.2, "shear_x": 0.3}]),
    Group("horizontal_flip", [{"horizontal_flip": 0.5}], always=True),
    Group("shift", [_SHIFT], always=True),
]
_TECHNIQUES = read_techniques(
    _GROUPS, {"label_smoothing": 0.1, "weight_decay": 0.02}, ("mixup", "cutmix")
)


def _candidate(**levels: int) -> Candidate:
    return BASELINE.adding(*levels.items())


def test_the_baseline_changes_nothing() -> None:
    found = read_candidate(BASELINE, _TECHNIQUES)
    assert (found.policy, found.changes) == (IDENTITY, {})


def test_flip_and_crop_is_that_of_the_papers() -> None:
    policy = read_candidate(_candidate(horizontal_flip=0, shift=0), _TECHNIQUES).policy
    assert policy == known_policies.flip_and_crop()


@pytest.mark.parametrize("name", ["trivial_augment", "rand_augment"])
def test_a_published_policy_has_its_own_operations_and_flip_and_crop_beside(name: str) -> None:
    known = getattr(known_policies, name)()
    alone = read_candidate(_candidate(**{name: 0}), _TECHNIQUES).policy
    assert alone == known
    both = _candidate(**{name: 0, "horizontal_flip": 0, "shift": 0, "cutmix": 0})
    policy = read_candidate(both, _TECHNIQUES).policy
    assert (policy.branches, policy.draws) == (known.branches, known.draws)
    assert policy.always == known_policies.flip_and_crop().always
    assert policy.mixing.cutmix_probability == 0.5
    assert is_compatible(both, _TECHNIQUES)
    assert not is_compatible(both.adding(("geometry", 0)), _TECHNIQUES)


def test_families_become_branches_and_what_is_for_every_image_comes_besides() -> None:
    found = read_candidate(
        _candidate(horizontal_flip=0, geometry=1, cutmix=0, mixup=0), _TECHNIQUES
    )
    assert found.policy.always == (Operation("horizontal_flip", 0.5, 0.5),)
    weights = [branch.weight for branch in found.policy.branches]
    assert weights == pytest.approx([0.3, 0.35, 0.35])
    assert (found.policy.mixing.cutmix_probability, found.policy.mixing.mixup_probability) == (
        0.5,
        0.5,
    )


def test_a_removed_transform_is_in_no_branch() -> None:
    found = read_candidate(Candidate((("geometry", 1),), ("rotate",)), _TECHNIQUES)
    used = [each.transform for branch in found.policy.branches for each in branch.operations]
    assert used == ["shear_x"]


def test_regularisers_are_values_beside_that_of_the_recipe() -> None:
    assert _TECHNIQUES["label_smoothing"].levels == (0.0, 0.2)
    assert _TECHNIQUES["weight_decay"].levels == pytest.approx((0.1,))
    # The model of this table has neither dropout nor branches to drop.
    assert not {"dropout", "stochastic_depth"} & set(_TECHNIQUES)
    found = read_candidate(_candidate(label_smoothing=1, weight_decay=0), _TECHNIQUES)
    assert found.policy == IDENTITY
    assert found.changes == pytest.approx({"label_smoothing": 0.2, "weight_decay": 0.1})


def test_more_for_every_image_than_a_policy_holds_is_an_error() -> None:
    names = ("horizontal_flip", "vertical_flip", "rot90", "invert")
    groups = [Group(name, [{name: 0.5}], always=True) for name in names]
    techniques = read_techniques([*groups, _GROUPS[-1]], {}, ("mixup", "cutmix"))
    with pytest.raises(ValueError, match="at most"):
        read_candidate(_candidate(shift=0, **dict.fromkeys(names, 0)), techniques)


def test_several_operations_of_the_families_an_image() -> None:
    one = read_candidate(_candidate(geometry=1), _TECHNIQUES).policy
    several = read_candidate(_candidate(geometry=1, several_operations=1), _TECHNIQUES).policy
    assert (one.draws, several.draws) == ((1, 1), (4, 4))
    assert several.branches == one.branches
    assert not is_compatible(_candidate(several_operations=1), _TECHNIQUES)
