"""When a scheduled run trains: each trigger at its limit, in the order of its cost."""

import dataclasses
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import norm

from kfp_vision.components.shared.artifacts.source_files import file_hash, source_files
from kfp_vision.components.shared.champions.history import Champions, Entry
from kfp_vision.components.shared.metrics.intervals import wilson_interval
from kfp_vision.components.shared.runtime.seeds import MAX_SEED
from kfp_vision.pipelines.retraining.decision import (
    NewestScore,
    decide,
    drop_interval,
    seed_anew,
)
from kfp_vision.pipelines.retraining.last_success import LastSuccess
from kfp_vision.pipelines.retraining.triggers import Triggers

NOW = datetime(2026, 11, 27, 3, tzinfo=UTC)
NAMES = (
    *("dataset_uri", "dataset_version", "unlabeled_version"),
    *("recipe_version", "architecture_version"),
)


def sources(num_files, changed="", new=0):
    versions = {name: "2" if name == changed else "1" for name in NAMES}
    if new:
        versions["dataset_version"] = "2"
    paths = [*range(num_files - new), *(f"new {number}" for number in range(new))]
    return source_files(versions, (file_hash(f"{path}.png", "1") for path in paths))


def never():
    raise AssertionError("The champion is measured when nothing else decides.")


def decide_on(now, triggers=None, measure=never, age_days=1.0, champions=None):
    last = LastSuccess(NOW - timedelta(days=age_days), sources(100))
    return decide(last, now, NOW, triggers or Triggers(), champions or Champions(), measure)


def test_without_a_success_there_is_something_to_train():
    assert decide(None, sources(10), NOW, Triggers(), Champions(), never).train


def test_nothing_new_is_nothing_to_train():
    decision = decide_on(sources(100))
    assert not decision.train
    assert decision.reason.startswith("Nothing new")


@pytest.mark.parametrize("changed", ["dataset_uri", "recipe_version", "architecture_version"])
def test_another_dataset_recipe_or_model_file_is_trained(changed):
    decision = decide_on(sources(100, changed), Triggers(min_new_share=1.0))
    assert decision.train
    assert changed.split("_")[0] in decision.reason


def test_what_the_run_itself_changes_is_nothing_new():
    now = sources(100)
    now = dataclasses.replace(now, versions={**now.versions, "champion_version": "promoted"})
    assert not decide_on(now).train


@pytest.mark.parametrize(("limit", "train"), [(0.0, True), (0.05, True), (0.0501, False)])
def test_the_share_of_new_files_decides_at_its_limit(limit, train):
    # 5 of 100 have gone, and 5 others came.
    decision = decide_on(sources(100, new=5), Triggers(min_new_share=limit))
    assert decision.train == train
    assert "5.00% of 100 files" in decision.reason


@pytest.mark.parametrize(("age", "train"), [(6.99, False), (7.0, True), (70.0, True)])
def test_an_old_success_is_trained_again(age, train):
    decision = decide_on(sources(100), Triggers(max_age_days=7.0), age_days=age)
    # Nothing has changed: with the same seed all would come from the cache.
    assert (decision.train, decision.anew) == (train, train)
    few = decide_on(sources(100, new=1), Triggers(0.5, max_age_days=7.0), age_days=age)
    assert (few.train, few.anew) == (train, False)


def test_the_seed_of_a_run_on_the_same_data_is_another_one_after_each_success():
    first, second = (LastSuccess(NOW + timedelta(days=day), sources(1)) for day in (0, 7))
    assert seed_anew(3, first) == seed_anew(3, first)
    assert len({3, seed_anew(3, first), seed_anew(3, second)}) == 3
    assert 0 <= seed_anew(MAX_SEED, first) <= MAX_SEED


@pytest.mark.parametrize(("hours", "train"), [(23, True), (25, False)])
def test_a_model_that_was_overtaken_is_compared_again_once(hours, train):
    at = (NOW - timedelta(hours=hours)).isoformat()
    champions = Champions((Entry(at, "promoted", "v1", ""), Entry(at, "overtaken", "v2", "")))
    # A run that came after it has seen the champion.
    assert decide_on(sources(100), champions=champions).train == train


def test_a_change_that_the_sample_of_files_has_missed_counts_as_one_file():
    now = sources(100)
    now = dataclasses.replace(now, versions={**now.versions, "dataset_version": "2"})
    assert decide_on(now).train
    assert decide_on(now, Triggers(min_new_share=0.01)).train
    assert not decide_on(now, Triggers(min_new_share=0.011)).train


def score(right, of, tested=0.9, num_tested=1000, unknown=()):
    newest = right / of
    intervals = wilson_interval(tested, num_tested), wilson_interval(newest, of)
    return NewestScore("accuracy", tested, intervals[0], newest, intervals[1], of, unknown)


@pytest.mark.parametrize(("right", "train"), [(180, False), (165, False), (150, True), (20, True)])
def test_a_drop_counts_where_chance_does_not_explain_it(right, train):
    measured = score(right, 200)
    triggers = Triggers(min_new_share=0.5, max_metric_drop=0.05)
    decision = decide_on(sources(110, new=10), triggers, lambda: measured)
    assert decision.train == train
    # The normal distribution says the same far from the limit.
    error = math.sqrt(0.9 * 0.1 / 1000 + measured.newest * (1 - measured.newest) / 200)
    assert train == (0.9 - measured.newest - norm.ppf(0.975) * error > 0.05)


def test_classes_that_the_champion_does_not_know_are_trained():
    triggers = Triggers(min_new_share=0.5, max_metric_drop=0.05)
    unknown = score(0, 1, unknown=("bird",))
    assert "bird" in decide_on(sources(110, new=10), triggers, lambda: unknown).reason
    assert not decide_on(sources(110, new=10), triggers, lambda: None).train


def test_the_interval_of_a_drop_holds_it_in_19_of_20_cases():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        tested, newest = rng.binomial(300, 0.95), rng.binomial(60, 0.9)
        low, high = drop_interval(score(newest, 60, tested / 300, 300))
        held.append(low <= 0.05 <= high)
    assert 0.94 <= np.mean(held) <= 0.97


@pytest.mark.parametrize(
    "wrong", [{"min_new_share": 1.1}, {"max_age_days": -1.0}, {"max_metric_drop": math.nan}]
)
def test_triggers_that_cannot_be_met_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Triggers(**wrong)
