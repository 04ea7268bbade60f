"""The rounds on objectives whose best candidate is known, and what the decision accepts."""

import dataclasses
import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.trial_search.beam import (
    PLAIN,
    Candidate,
    Trial,
    decide,
    gain_error,
    presume,
    propose,
)

_MIRROR = PLAIN.adding("horizontal_flip", 0)
_TECHNIQUES = {"horizontal_flip": 1, "geometry": 2, "colour": 2, "cutmix": 1, "vertical_flip": 1}


def _ended(trial: Trial, loss: float | None) -> Trial:
    """Returns a trial that failed, or lost the same on both parts of the images."""
    return dataclasses.replace(trial, losses=() if loss is None else (loss, loss))


def _search(
    loss: Callable[[Candidate, int], float | None],
    numbers: tuple[int, int, int] = (14, 7, 9),
    techniques: dict[str, int] = _TECHNIQUES,
    suspicion: dict[str, dict[str, float]] | None = None,
) -> list[Trial]:
    """Runs all rounds; between two of them the trials travel as JSON."""
    done: list[Trial] = []
    for name in ROUNDS:
        needs = {"several": ("geometry", "colour")} if "several" in techniques else {}
        trials = propose(
            name, done, techniques, ("whole",), needs, suspicion or {}, *numbers, seed=7
        )
        done += [_ended(each, loss(each.candidate, each.seed)) for each in trials]
        done = [Trial.from_json(json.loads(json.dumps(each.to_json()))) for each in done]
    return done


def _additive(gains: dict[tuple[str, int], float]) -> Callable[[Candidate, int], float]:
    def loss(candidate: Candidate, seed: int) -> float:
        noise = 0.01 * np.random.default_rng(seed).normal()
        return 2.0 + noise - sum(gains.get(pair, 0.0) for pair in candidate.levels)

    return loss


def test_on_additive_gains_the_rounds_find_the_best_candidate() -> None:
    gains = {
        ("horizontal_flip", 0): 0.2,
        ("geometry", 0): 0.1,
        ("geometry", 1): 0.15,
        ("colour", 0): -0.1,
        ("colour", 1): -0.2,
        ("cutmix", 0): 0.1,
        ("vertical_flip", 0): -0.3,
    }
    done = _search(_additive(gains))
    gain = decide(done)
    assert gain is not None
    assert gain.accepted
    assert dict(gain.candidate.levels) == {"horizontal_flip": 0, "geometry": 1, "cutmix": 0}
    # Seeds are paired: their noise is in both.
    assert gain.gain == pytest.approx(0.45)
    assert gain.error == pytest.approx(0.0, abs=1e-9)


def test_techniques_that_spoil_each_other_are_not_taken_together() -> None:
    def loss(candidate: Candidate, seed: int) -> float:
        names = dict(candidate.levels)
        if "horizontal_flip" in names and "cutmix" in names:
            return 2.5
        return 2.0 - 0.2 * ("horizontal_flip" in names) - 0.15 * ("cutmix" in names)

    gain = decide(_search(loss))
    assert gain is not None
    assert dict(gain.candidate.levels) == {"horizontal_flip": 0}


def _customary(parts: Callable[[Candidate], tuple[float, ...]]) -> list[Trial]:
    """Runs the rounds where there is no confirmation."""
    done: list[Trial] = []
    for name in ROUNDS:
        trials = propose(
            name, done, {"horizontal_flip": 1, "shift": 2}, (), {}, {}, 4, 0, 0, seed=7
        )
        done += [dataclasses.replace(each, losses=parts(each.candidate)) for each in trials]
    return done


@pytest.mark.parametrize(
    ("costs", "taken"),
    [
        ({}, {"horizontal_flip": 0, "shift": 1}),
        # Less than two standard errors.
        ({"horizontal_flip": 0.015}, {"horizontal_flip": 0, "shift": 1}),
        ({"horizontal_flip": 0.1}, {"shift": 1}),
        ({"horizontal_flip": 0.1, "shift": 0.1}, {}),
    ],
)
def test_where_gains_cannot_be_shown_what_is_customary_is_taken_unless_it_does_harm(
    costs: dict[str, float], taken: dict[str, int]
) -> None:
    def parts(candidate: Candidate) -> tuple[float, ...]:
        scatter = 0.02 * len(candidate.levels) * np.sin(np.arange(8))
        return tuple(1.0 + scatter + sum(costs.get(name, 0.0) for name, _ in candidate.levels))

    done = _customary(parts)
    assert len(done) == 4
    assert {each.round for each in done} == {ROUNDS[0]}
    gain = presume(done, seed=7)
    assert gain is not None
    assert dict(gain.candidate.levels) == taken
    assert gain.accepted == bool(taken)
    assert decide(done) is None


def test_without_a_plain_trial_nothing_is_presumed() -> None:
    assert presume(_customary(lambda candidate: (1.0, 1.0) if candidate.levels else ()), 7) is None


def test_pruning_finds_the_transform_that_does_harm() -> None:
    def loss(candidate: Candidate, seed: int) -> float:
        harm = 0.1 * ("geometry" in dict(candidate.levels) and "shear_x" not in candidate.without)
        return 2.0 + harm - 0.3 * ("geometry" in dict(candidate.levels))

    suspicion = {"geometry": {"rotate": 0.1, "shear_x": 0.5, "zoom_in": 0.2}}
    gain = decide(_search(loss, suspicion=suspicion))
    assert gain is not None
    assert gain.candidate.without == ("shear_x",)


def test_an_exclusive_technique_is_tried_alone_and_may_win() -> None:
    gains = {("whole", 0): 0.5, ("horizontal_flip", 0): 0.1, ("geometry", 0): 0.1}
    done = _search(_additive(gains), techniques={"whole": 1, **_TECHNIQUES})
    mixed = [
        dict(trial.candidate.levels) for trial in done if "whole" in dict(trial.candidate.levels)
    ]
    assert all(levels == {"whole": 0} for levels in mixed)
    gain = decide(done)
    assert gain is not None
    assert gain.candidate == PLAIN.adding("whole", 0)


def test_no_trial_is_proposed_twice_and_the_budget_is_never_exceeded() -> None:
    gains = dict.fromkeys(itertools.product(_TECHNIQUES, (0, 1)), 0.1)
    for numbers in itertools.product((0, *range(4, 18)), range(3, 10), (6, 9)):
        done = _search(_additive(gains), numbers)
        assert len({trial.key for trial in done}) == len(done)
        rounds = [trial.round for trial in done]
        assert rounds.count("screening") <= numbers[0], numbers
        assert rounds.count("confirmation") in (0, 6, numbers[2])
        assert len(rounds) <= sum(numbers), numbers


def test_failed_trials_never_win() -> None:
    def loss(candidate: Candidate, seed: int) -> float | None:
        return (
            None
            if "horizontal_flip" in dict(candidate.levels)
            else 2.0 - 0.1 * len(candidate.levels)
        )

    gain = decide(_search(loss))
    assert gain is not None
    assert "horizontal_flip" not in dict(gain.candidate.levels)


def test_nothing_helps_and_nothing_is_confirmed() -> None:
    done = _search(_additive(dict.fromkeys(itertools.product(_TECHNIQUES, (0, 1)), -0.1)))
    assert decide(done) is None
    assert all(trial.round != "confirmation" for trial in done)


# Fifteen candidates beside the plain one.
_MANY = {
    "horizontal_flip": 1,
    "shift": 1,
    "geometry": 2,
    "colour": 2,
    "vertical_flip": 1,
    "detail": 2,
    "cutmix": 1,
}


def _simulate(
    draw: int, num_confirmed: int, by_images: float, by_seed: float, within: float, gain: float
) -> bool:
    """Returns whether a search accepts anything; one technique gains, on average over images.

    Args:
        draw: Of the simulation.
        num_confirmed: Trials of the last round.
        by_images: How much a technique changes the loss of a part of the images, alike in all
            seeds: what chooses and what confirms are different images.
        by_seed: How much it changes the loss of all images, with another seed otherwise.
        within: What is left, for each part and seed.
        gain: Of `mirror`, nats of a loss of 1.
    """
    generator = np.random.default_rng(draw)
    effects: dict[tuple[Candidate, bool], np.ndarray] = {}
    done: list[Trial] = []
    for name in ROUNDS:
        last = name == ROUNDS[-1]
        # Three times as many images.
        spread = np.array([by_images, within]) / (3**0.5 if last else 1.0)
        for each in propose(name, done, _MANY, (), {}, {}, 10, 6, num_confirmed, seed=7):
            own = (each.candidate != PLAIN) * spread[0] * generator.normal(size=8)
            effect = effects.setdefault((each.candidate, last), own)
            losses = 1.0 + effect + by_seed * generator.normal()
            losses = losses + spread[1] * generator.normal(size=8)
            losses -= gain * ("horizontal_flip" in dict(each.candidate.levels))
            done.append(dataclasses.replace(each, losses=tuple(losses)))
    found = decide(done)
    return found is not None and found.accepted


_SCATTERS = [
    # All of it between images, all between seeds, all that is left, and some of each.
    (0.1, 0.0, 1e-4),
    (0.0, 0.03, 1e-4),
    (0.0, 0.0, 0.1),
    (0.1, 0.03, 0.05),
]


@pytest.mark.parametrize("num_confirmed", [6, 9])
@pytest.mark.parametrize("scatter", _SCATTERS)
def test_of_fifteen_candidates_without_a_gain_one_is_accepted_in_at_most_a_twentieth(
    num_confirmed: int, scatter: tuple[float, float, float]
) -> None:
    accepted = sum(_simulate(draw, num_confirmed, *scatter, gain=0.0) for draw in range(200))
    assert accepted <= 10


@pytest.mark.parametrize("num_confirmed", [6, 9])
def test_a_clear_gain_is_accepted_almost_always(num_confirmed: int) -> None:
    accepted = sum(
        _simulate(draw, num_confirmed, 0.05, 0.02, 0.03, gain=0.15) for draw in range(100)
    )
    assert accepted >= 90


def test_the_error_of_a_gain_is_the_scatter_that_seeds_and_images_have() -> None:
    """Of 2,000 experiments, the variance of the mean is that which each of them estimates."""
    generator = np.random.default_rng(0)
    means, variances, beyond = [], [], 0
    for _ in range(2000):
        # [candidate, seed, part]: of the images, of the seed.
        losses = 0.1 * generator.normal(size=(3, 1, 8)) + 0.05 * generator.normal(size=(3, 3, 1))
        gains = losses[0] - losses[1]
        error, degrees = gain_error(gains, losses.mean(2))
        means.append(gains.mean())
        variances.append(error**2)
        beyond += gains.mean() > error * scipy.stats.t.ppf(0.975, degrees)
    assert np.mean(variances) == pytest.approx(2 * (0.1**2 / 8 + 0.05**2 / 3), rel=0.05)
    assert np.var(means) == pytest.approx(np.mean(variances), rel=0.1)
    assert 0.015 * 2000 <= beyond <= 0.035 * 2000


def test_the_decision_is_of_fresh_seeds_in_pairs() -> None:
    losses = {PLAIN: (2.0, 2.2), _MIRROR: (1.5, 1.7), _MIRROR.adding("cutmix", 0): (1.2, 1.6)}
    trials = [
        Trial("confirmation", each, 8 + offset, (loss, loss))
        for each, held in losses.items()
        for offset, loss in enumerate(held)
    ]
    gain = decide(trials)
    assert gain is not None
    assert dict(gain.candidate.levels) == {"horizontal_flip": 0, "cutmix": 0}
    assert gain.gain == pytest.approx(0.7)
    # Off their means the losses are 0.1 / 3, once with the other sign and twice as large: with the
    # two degrees of freedom of three candidates and two seeds.
    assert gain.error == pytest.approx((12 * (0.1 / 3) ** 2 / 2) ** 0.5)
    assert gain.noise == pytest.approx(0.02**0.5)
    assert gain.threshold == pytest.approx(gain.error * scipy.stats.t.ppf(0.975, 2))
    assert gain.accepted == (gain.gain > gain.threshold)
    # In whatever order the workers return them.
    assert decide(trials[::-1]) == gain
    # What failed is left out, as is what failed once of two times.
    left = decide([*trials[:-1], dataclasses.replace(trials[-1], losses=())])
    assert left is not None
    assert dict(left.candidate.levels) == {"horizontal_flip": 0}
    assert decide([dataclasses.replace(trials[0], losses=()), *trials[1:]]) is None
    assert decide([]) is None


def test_a_gain_on_some_of_the_images_only_has_an_error_from_them() -> None:
    plain, better = [2.0, 2.0, 2.0, 2.0], [1.2, 1.8, 2.2, 2.0]
    trials = [
        Trial("confirmation", each, seed, tuple(losses))
        for seed in (8, 9)
        for each, losses in ((PLAIN, plain), (_MIRROR, better))
    ]
    gain = decide(trials)
    assert gain is not None
    assert gain.gain == pytest.approx(0.2)
    # The seeds agree, the parts have gains of 0.8, 0.2, -0.2 and 0.
    assert gain.error == pytest.approx(np.std([0.8, 0.2, -0.2, 0.0], ddof=1) / 2)
    assert not gain.accepted


def test_a_rich_candidate_that_is_near_is_confirmed_beside_the_best() -> None:
    def crowded(extra: float) -> Callable[[Candidate, int], float]:
        def loss(candidate: Candidate, seed: int) -> float:
            names = dict(candidate.levels)
            gain = 0.5 * ("horizontal_flip" in names) + 0.3 * ("cutmix" in names)
            both = extra if seed != 7 else -0.3
            return 2.0 - gain - both * ("horizontal_flip" in names and "cutmix" in names)

        return loss

    for extra, expected in (
        (0.1, {"horizontal_flip": 0, "cutmix": 0}),
        (-0.4, {"horizontal_flip": 0}),
    ):
        done = _search(crowded(extra))
        gain = decide(done)
        assert gain is not None
        assert dict(gain.candidate.levels) == expected
        fresh = [trial for trial in done if trial.round == "confirmation"]
        assert len(fresh) == 9
        assert len({trial.seed for trial in fresh}) == 3


def test_of_candidates_within_the_error_of_the_images_the_richest_goes_on() -> None:
    """Mirror alone is best by 0.01; colour beside it changes parts of the images by 0.1."""
    done: list[Trial] = []
    changes = np.array([0.1, -0.1, 0.1, -0.1]) + 0.01
    for name in ROUNDS:
        techniques, needs = (
            {"horizontal_flip": 1, "colour": 2, "several": 2},
            {"several": ("colour",)},
        )
        for each in propose(name, done, techniques, (), needs, {}, 8, 6, 9, seed=7):
            names = dict(each.candidate.levels)
            losses = np.full(4, 2.0) - 0.5 * ("horizontal_flip" in names)
            if "colour" in names:
                losses += changes if "horizontal_flip" in names else -0.1
            losses += 0.2 * (names.get("colour") == 0) + 0.002 * names.get("several", 0)
            done.append(dataclasses.replace(each, losses=tuple(losses)))
    both = Candidate((("colour", 1), ("horizontal_flip", 0)))
    tried = [each.candidate for each in done]
    assert both.adding("several", 0) in tried
    gain = decide(done)
    assert gain is not None
    # Of the richest, which are alike but for their levels, the weaker one.
    assert gain.candidate == both.adding("several", 0)
    assert gain.gain == pytest.approx(0.49)


def test_what_needs_others_is_tried_with_them_only() -> None:
    gains = {("colour", 1): 0.2, ("several", 1): 0.1, ("horizontal_flip", 0): 0.05}
    done = _search(_additive(gains), techniques={**_TECHNIQUES, "several": 2})
    with_it = [each.candidate.levels for each in done if "several" in dict(each.candidate.levels)]
    assert with_it
    assert all({"geometry", "colour"} & {*dict(levels)} for levels in with_it)
    gain = decide(done)
    assert gain is not None
    assert dict(gain.candidate.levels)["several"] == 1


def test_pruning_leaves_out_what_is_weakest_among_what_stands_alone() -> None:
    gains = {("colour", 1): 0.2, ("several", 1): 0.1, ("horizontal_flip", 0): 0.15}
    done = _search(_additive(gains), (14, 9, 9), {**_TECHNIQUES, "several": 2})
    pruned = [dict(each.candidate.levels) for each in done if each.round == "pruning"]
    assert pruned == [{"colour": 1, "several": 1}]
    # With the last of what it needs goes what needs it.
    gains = {("colour", 1): 0.15, ("several", 1): 0.1, ("horizontal_flip", 0): 0.2}
    done = _search(_additive(gains), (14, 9, 9), {**_TECHNIQUES, "several": 2})
    assert all(each.candidate.levels != (("several", 1),) for each in done)
    assert ("horizontal_flip", 0) in done[-1].candidate.levels


def test_a_search_ends_after_screening_where_nothing_gains_a_fiftieth() -> None:
    done = _search(_additive(dict.fromkeys(itertools.product(_TECHNIQUES, (0, 1)), 0.03)))
    assert {trial.round for trial in done} == {"screening"}
    done = _search(_additive(dict.fromkeys(itertools.product(_TECHNIQUES, (0, 1)), 0.05)))
    assert {"expansion 1", "expansion 2", "confirmation"} <= {trial.round for trial in done}


def test_the_rest_is_tried_alone_only_where_one_of_the_first_five_helps() -> None:
    techniques = {
        "horizontal_flip": 1,
        "shift": 1,
        "geometry": 1,
        "colour": 1,
        "cutmix": 1,
        "vertical_flip": 1,
    }
    done = _search(_additive({("vertical_flip", 0): 0.5}), techniques=techniques)
    alone = [{}, *({name: 0} for name in techniques if name != "vertical_flip")]
    assert [dict(each.candidate.levels) for each in done] == alone
    done = _search(_additive({("vertical_flip", 0): 0.5, ("shift", 0): 0.1}), techniques=techniques)
    gain = decide(done)
    assert gain is not None
    assert dict(gain.candidate.levels) == {"shift": 0, "vertical_flip": 0}


def test_a_combination_that_failed_is_not_tried_again() -> None:
    gains = dict.fromkeys(((name, 0) for name in _TECHNIQUES), 0.1)

    def loss(candidate: Candidate, seed: int) -> float | None:
        return None if len(candidate.levels) > 2 else _additive(gains)(candidate, seed)

    done = _search(loss, numbers=(14, 9, 9))
    assert any(trial.loss is None for trial in done)
    assert len({trial.key for trial in done}) == len(done)
    gain = decide(done)
    assert gain is not None
    assert len(gain.candidate.levels) == 2
