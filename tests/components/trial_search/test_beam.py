"""The beam on objectives whose best state is known, and what a state means."""

import itertools

import pytest

from kfp_vision.components.shared.augmentation.policy import IDENTITY
from kfp_vision.components.trial_search.beam import Scored, accept, expand, select
from kfp_vision.components.trial_search.techniques import read_techniques, regularisation


def _run_beam(loss, groups: dict[str, int], width: int) -> dict[str, int]:
    beam = [Scored({}, loss({}))]
    for group, levels in groups.items():
        trials = [Scored(state, loss(state)) for state in expand(beam, group, levels)]
        beam = select(beam, trials, width)
    return beam[0].state


def test_a_wider_beam_finds_a_pair_that_helps_only_together() -> None:
    # `a` costs a little alone, `b` gains a little alone, and together they gain much.
    losses = {"": 1.0, "a": 1.05, "b": 0.99, "ab": 0.5}

    def loss(state: dict[str, int]) -> float:
        return losses["".join(sorted(state))]

    groups = {"a": 1, "b": 1}
    assert _run_beam(loss, groups, width=1).keys() == {"b"}
    assert _run_beam(loss, groups, width=2).keys() == {"a", "b"}


def test_on_additive_losses_the_beam_is_exact() -> None:
    gains = {("a", 0): 0.1, ("a", 1): -0.2, ("b", 0): -0.1, ("b", 1): 0.3}

    def loss(state: dict[str, int]) -> float:
        return 1.0 - sum(gains[item] for item in state.items())

    best = min(
        (
            {k: v for k, v in zip("ab", levels, strict=True) if v is not None}
            for levels in itertools.product([None, 0, 1], repeat=2)
        ),
        key=loss,
    )
    assert _run_beam(loss, {"a": 2, "b": 2}, width=1) == best


def test_failed_trials_never_win_and_ties_go_to_the_smaller_state() -> None:
    failed, tied, base = Scored({"a": 0}, None), Scored({"b": 0}, 1.0), Scored({}, 1.0)
    assert select([base], [failed, tied], 2) == [base, tied]
    with pytest.raises(ValueError, match="0 of 1 did"):
        select([], [failed], 1)


def test_a_gain_must_exceed_the_scatter_of_the_baselines() -> None:
    baselines = [1.0, 1.1, 0.9]
    assert accept(0.79, baselines) == (True, pytest.approx(0.1))
    assert accept(0.81, baselines)[0] is False
    with pytest.raises(ValueError, match="needs two baselines"):
        accept(0.5, [1.0])


def test_a_state_is_a_policy() -> None:
    rotate = {"transform": "rotate", "low": 0.0, "high": 0.2, "probability": 1.0}
    mirror = {"transform": "mirror", "low": 0.5, "high": 0.5, "probability": 1.0}
    groups = [
        {"name": "geometry", "levels": [[rotate], [{**rotate, "high": 0.4}]]},
        {"name": "mirror", "levels": [[mirror]]},
    ]
    techniques = read_techniques(groups, label_smoothing=0.1)
    assert [each.name for each in techniques[:2]] == ["mirror", "geometry"]
    assert regularisation({}, techniques, 0.1) == (IDENTITY, 0.1)
    state = {"mirror": 0, "geometry": 1, "cutmix": 0, "label_smoothing": 0}
    policy, smoothing = regularisation(state, techniques, 0.1)
    assert smoothing == 0.0
    assert [each.transform for each in policy.always] == ["mirror"]
    assert [branch.weight for branch in policy.branches] == pytest.approx([0.3, 0.7])
    assert policy.branches[1].operations[0].high == 0.4
    assert policy.mixing.cutmix_probability == 0.5
