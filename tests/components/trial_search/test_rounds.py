"""The rounds on objectives whose best candidate is known, and what the decision accepts."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.augmentation_table import (
    AugmentationTable,
    CheckpointPlan,
    Group,
    SearchPlan,
    Signals,
)
from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Confirmed,
    Trial,
)
from kfp_vision.components.trial_search.deciding import (
    confirm,
)
from kfp_vision.components.trial_search.proposing import SearchSpace, next_trials, read_space
from kfp_vision.components.trial_search.running import merge_trials
from kfp_vision.components.trial_search.techniques import (
    is_compatible,
    read_techniques,
    screening_order,
)

pytestmark = pytest.mark.long

_GROUPS = [
    Group("horizontal_flip", [{"horizontal_flip": 0.5}], always=True),
    Group("vertical_flip", [{"vertical_flip": 0.5}], always=True),
    Group("shift", [{"translate_x": 0.125}, {"translate_x": 0.25}], always=True),
    Group("geometry", [{"rotate": 0.1, "shear_x": 0.2}, {"rotate": 0.2, "shear_x": 0.4}]),
    Group("colour", [{"hue": 0.1}, {"hue": 0.4}]),
]
_TECHNIQUES = read_techniques(_GROUPS, {"dropout": 0.2}, ("mixup", "cutmix"))
_SPACE = SearchSpace(_TECHNIQUES, {"geometry": {"rotate": 0.1, "shear_x": 0.5}})
_CHECKPOINT = CheckpointPlan(100, 64, 16, 0.01, 10)
_PLAN = SearchPlan(_CHECKPOINT, 64, 16, 0.01, 64, 800, 800, 64, 400, 400, 22, 9)

_Loss = Callable[[Candidate, int, str], tuple[float, ...]]


def _search(
    loss: _Loss, num_trials: int = 22, num_confirmed: int = 9, travel: bool = True
) -> list[Trial]:
    """Runs all rounds; between two of them the trials `travel` as JSON."""
    plan = dataclasses.replace(_PLAN, num_trials=num_trials, num_confirmed=num_confirmed)
    done: list[Trial] = []
    while missing := next_trials(done, _SPACE, plan, seed=7):
        assert len({trial.round for trial in missing}) == 1
        ended = [
            dataclasses.replace(each, losses=loss(each.candidate, each.seed, each.round))
            for each in missing
        ]
        failed = [
            dataclasses.replace(each, error="")
            if each.losses
            else dataclasses.replace(each, error="not finite")
            for each in ended
        ]
        done = merge_trials([json_text(done), json_text(failed)]) if travel else [*done, *failed]
    return done


def _additive(gains: Mapping[str, float]) -> _Loss:
    """Returns losses of two parts of the images; the noise of a seed is in all candidates."""

    def loss(candidate: Candidate, seed: int, _: str) -> tuple[float, ...]:
        noise = 0.01 * np.random.default_rng(seed).normal()
        total = 2.0 + noise - sum(gains.get(name, 0.0) for name, _ in candidate.levels)
        return (total, total)

    return loss


def _levels(confirmed: Confirmed | None) -> dict[str, int]:
    assert confirmed is not None
    assert confirmed.accepted
    return dict(confirmed.candidate.levels)


def test_on_additive_gains_the_rounds_find_the_best_techniques() -> None:
    harm = dict.fromkeys(_TECHNIQUES, -0.1)
    gains = {**harm, "horizontal_flip": 0.2, "geometry": 0.15, "shift": 0.1}
    done = _search(_additive(gains))
    found = confirm(done)
    assert _levels(found).keys() == {"horizontal_flip", "geometry", "shift"}
    assert found is not None
    assert found.gain == pytest.approx(0.45)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert found.num_seeds == 3


@pytest.mark.parametrize(("num_trials", "num_confirmed"), [(4, 4), (8, 4), (13, 6), (22, 9)])
def test_searches_of_all_sizes_take_flip_and_crop_where_it_helps_and_not_where_it_harms(
    num_trials: int, num_confirmed: int
) -> None:
    helps = _additive({"horizontal_flip": 0.1, "shift": 0.1, "trivial_augment": -0.3})
    harms = _additive({**dict.fromkeys(_TECHNIQUES, -0.1), "horizontal_flip": -0.3, "shift": 0.2})
    assert {"horizontal_flip", "shift"} <= _levels(
        confirm(_search(helps, num_trials, num_confirmed))
    ).keys()
    done = _search(harms, num_trials, num_confirmed)
    assert _levels(confirm(done)).keys() == {"shift"}
    selected = [trial for trial in done if trial.round != ROUNDS[-1]]
    assert len(selected) <= num_trials
    assert len(done) - len(selected) <= num_confirmed


def test_techniques_that_spoil_each_other_are_not_taken_together() -> None:
    def loss(candidate: Candidate, *_: object) -> tuple[float, ...]:
        names = {name for name, _ in candidate.levels}
        gain = 0.2 if names == {"horizontal_flip"} else 0.15 if names == {"cutmix"} else -0.1
        return (2.0 - gain * bool(names),) * 2

    assert _levels(confirm(_search(loss))) == {"horizontal_flip": 0}


def test_removal_finds_the_transform_that_does_harm() -> None:
    def loss(candidate: Candidate, *_: object) -> tuple[float, ...]:
        names = {name for name, _ in candidate.levels}
        gain = 0.3 - 0.1 * ("shear_x" not in candidate.without) if "geometry" in names else 0.0
        return (2.0 - gain + 0.2 * len(names - {"geometry"}),) * 2

    found = confirm(_search(loss))
    assert _levels(found).keys() == {"geometry"}
    assert found is not None
    assert found.candidate.without == ("shear_x",)


def test_where_nothing_is_below_the_baseline_the_search_ends_after_the_screening() -> None:
    done = _search(_additive(dict.fromkeys(_TECHNIQUES, -0.1)))
    assert {trial.round for trial in done} == {ROUNDS[0]}
    assert confirm(done) is None


def test_a_gain_that_does_not_repeat_is_not_confirmed() -> None:
    def loss(candidate: Candidate, seed: int, name: str) -> tuple[float, ...]:
        lucky = name != ROUNDS[-1] and "colour" in dict(candidate.levels)
        return (2.0 - 0.2 * lucky + 0.1 * bool(candidate.levels) * (not lucky),) * 2

    found = confirm(_search(loss))
    assert found is not None
    assert not found.accepted
    assert found.gain == pytest.approx(-0.1)


def test_a_baseline_that_fails_ends_the_search() -> None:
    assert len(_search(lambda candidate, *_: (1.0, 1.0) if candidate.levels else ())) == 10


def test_no_trial_is_run_twice_and_no_search_takes_more_than_its_plan() -> None:
    gains = dict.fromkeys(_TECHNIQUES, 0.1)
    for num_confirmed, num_trials in itertools.product((4, 6, 9), range(4, 23)):
        if num_trials >= 2 * num_confirmed or num_confirmed == 4:
            done = _search(_additive(gains), num_trials, num_confirmed)
            rounds = [trial.round for trial in done]
            assert len({trial.key for trial in done}) == len(done)
            assert 2 <= rounds.count(ROUNDS[-1]) <= num_confirmed
            assert len(rounds) - rounds.count(ROUNDS[-1]) <= num_trials


def test_what_fails_is_not_tried_again_and_never_wins() -> None:
    gains = _additive({"horizontal_flip": 0.3, "geometry": 0.2, "shift": 0.1})

    def loss(candidate: Candidate, seed: int, name: str) -> tuple[float, ...]:
        names = {technique for technique, _ in candidate.levels}
        fails = "horizontal_flip" in names or len(names) > 2
        return () if fails else gains(candidate, seed, name)

    done = _search(loss)
    failed = [trial.candidate for trial in done if not trial.losses]
    assert any(len(each.levels) > 2 for each in failed)
    assert len(set(failed)) == len(failed)
    assert _levels(confirm(done)).keys() == {"geometry", "shift"}


def test_what_is_customary_is_tried_beside_what_helps_unless_it_harms() -> None:
    """Trials hardly show what mirror images prevent in a whole training."""

    def loss(candidate: Candidate, *_: object) -> tuple[float, ...]:
        names = {name for name, _ in candidate.levels}
        gain = 0.3 * ("geometry" in names) - 0.1 * len(names - {"geometry", "horizontal_flip"})
        own = 0.002 * np.array([1.0, -0.9]) if "horizontal_flip" in names else np.zeros(2)
        return tuple((2.0 - gain + own).tolist())

    assert _levels(confirm(_search(loss))).keys() == {"geometry", "horizontal_flip"}


def test_removal_leaves_out_what_is_weakest_alone() -> None:
    harm = dict.fromkeys(_TECHNIQUES, -0.1)
    gains = {**harm, "horizontal_flip": 0.3, "geometry": 0.2, "shift": 0.1}
    done = _search(_additive(gains))
    removed = next(trial for trial in done if trial.round == "removal")
    assert dict(removed.candidate.levels).keys() == {"horizontal_flip", "geometry"}


def test_an_interrupted_round_is_proposed_again_without_what_has_ended() -> None:
    first = next_trials([], _SPACE, _PLAN, seed=7)
    ended = [dataclasses.replace(each, losses=(1.0, 1.0)) for each in first[:4]]
    assert next_trials(ended, _SPACE, _PLAN, seed=7) == first[4:]
    failed = dataclasses.replace(first[4], error="not finite")
    assert next_trials([*ended, failed], _SPACE, _PLAN, seed=7) == first[5:]


def test_seeds_are_common_to_a_round_and_fresh_for_the_confirmation() -> None:
    done = _search(_additive({"horizontal_flip": 0.1, "geometry": 0.1}))
    seeds = {name: {trial.seed for trial in done if trial.round == name} for name in ROUNDS}
    assert seeds["screening"] == seeds["combination 1"] == {7}
    assert seeds["repetition"] == {8}
    assert seeds["confirmation"] == {9, 10, 11}
    tried = {trial.candidate for trial in done}
    assert all(is_compatible(each, _TECHNIQUES) for each in tried)


def test_what_is_known_is_tried_first() -> None:
    order = [{name for name, _ in each.levels} for each in screening_order(_TECHNIQUES)]
    crop = {"horizontal_flip", "shift"}
    assert order[:6] == [
        set(),
        crop,
        {"shift"},
        {"horizontal_flip"},
        {*crop, "trivial_augment"},
        {"geometry"},
    ]
    strong = BASELINE.adding(("geometry", 1)), BASELINE.adding(("geometry", 0))
    assert strong[0] in screening_order(_TECHNIQUES)[:6]
    assert strong[1] in screening_order(_TECHNIQUES)[12:]


def test_what_makes_held_out_images_better_known_is_tried_after_flip_and_crop() -> None:
    rows = [
        Signals("rotate", 1.0, 0.5, 1.3),
        Signals("horizontal_flip", 1.0, 0.1, 1.02),
        Signals("vertical_flip", 1.0, 0.2, 1.2),
        Signals("rot90", 1.0, 0.4, 2.5),
    ]
    groups = [*_GROUPS[:3], Group("rot90", [{"rot90": 0.5}], always=True)]
    space = read_space(AugmentationTable(signals=rows, groups=groups))
    assert space.revealed == ["rot90", "vertical_flip"]
    tried = [each.candidate for each in next_trials([], space, _PLAN, seed=7)]
    assert tried[4:6] == [BASELINE.adding((name, 0)) for name in space.revealed]
    assert len(tried) == len(set(tried))


def _accepts(
    draw: int, num_confirmed: int, scatter: tuple[float, float, float], gain: float
) -> bool:
    """Simulates a search in which every technique gains alike, on average over images and seeds.

    Args:
        draw: Seed of the simulation.
        num_confirmed: Trials of the last round.
        scatter: Standard deviations of what a candidate changes: of each of 8 parts of the images,
            alike in all seeds, where what selects and what confirms are different images; of each
            seed, alike in all parts; and of each part and seed.
        gain: Nats that every candidate takes off a loss of 2.
    """
    generator = np.random.default_rng(draw)
    effects: dict[tuple[Candidate, bool], np.ndarray] = {}

    def loss(candidate: Candidate, seed: int, name: str) -> tuple[float, ...]:
        last = name == ROUNDS[-1]
        # Three times as many images confirm.
        by_images, by_seed, rest = np.array(scatter) / [
            3**0.5 if last else 1,
            1,
            3**0.5 if last else 1,
        ]
        own = (candidate != BASELINE) * by_images * generator.normal(size=8)
        values = 2.0 + effects.setdefault((candidate, last), own) + by_seed * generator.normal()
        values = values + rest * generator.normal(size=8) - gain * (candidate != BASELINE)
        return tuple(values.tolist())

    found = confirm(_search(loss, num_confirmed=num_confirmed, travel=False))
    return found is not None and found.accepted


_SCATTERS = [
    # All of it between images, all between seeds, all in the rest, and some of each.
    (0.1, 0.0, 1e-4),
    (0.0, 0.03, 1e-4),
    (0.0, 0.0, 0.1),
    (0.1, 0.03, 0.05),
]


@pytest.mark.parametrize("num_confirmed", [4, 9])
@pytest.mark.parametrize("scatter", _SCATTERS)
def test_of_searches_without_a_gain_at_most_a_twentieth_accepts_one(
    num_confirmed: int, scatter: tuple[float, float, float]
) -> None:
    assert sum(_accepts(draw, num_confirmed, scatter, 0.0) for draw in range(200)) <= 10


@pytest.mark.parametrize("num_confirmed", [4, 9])
def test_a_clear_gain_is_accepted_almost_always(num_confirmed: int) -> None:
    scatter = (0.05, 0.02, 0.03)
    assert sum(_accepts(draw, num_confirmed, scatter, 0.15) for draw in range(50)) >= 45


def test_harm_is_never_accepted() -> None:
    assert not any(_accepts(draw, 9, (0.05, 0.02, 0.03), -0.05) for draw in range(50))


def test_candidates_are_equal_after_a_trip_through_json() -> None:
    for levels in itertools.permutations([("shift", 1), ("geometry", 0), ("cutmix", 0)]):
        candidate = Candidate(levels, ("rotate",))
        (trial,) = merge_trials([json_text([Trial(ROUNDS[1], candidate, 3, (1.0, 2.0))])])
        assert trial == Trial(ROUNDS[1], candidate, 3, (1.0, 2.0))
        assert trial.loss == 1.5
