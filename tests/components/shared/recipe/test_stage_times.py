"""The plan of a run keeps to its budget, and leaves out what does not fit."""

import dataclasses
import itertools
import re

import pytest
from example_info import INFO

from kfp_vision.components.shared.artifacts.cost import START_UP, StageCost
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.recipe import stage_times
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.closing_times import closing_seconds
from kfp_vision.components.shared.recipe.distilled import FEWEST_PASSES, MOST_PASSES
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.evaluations import evaluation_share
from kfp_vision.components.shared.recipe.stage_times import (
    SEARCH,
    affordable_images,
    may_cut,
    plan_stages,
    search_images,
)
from kfp_vision.components.shared.recipe.time_for_stages import (
    later_seconds,
    pretraining_seconds,
    start_up_seconds,
    training_share,
)

# A step with its part of the evaluations, over a step.
EVALUATED = 1 + evaluation_share(Recipe(), INFO, 20_000)
SPENT = [StageCost("import_dataset", 20.0, 1000), StageCost(START_UP, 10.0, 0)]


PROBE = ("probe_batch_size",)


def plan(minutes, image_s, recipe=Recipe(), multiple=1e6, with_probe=True):  # noqa: B008
    recipe = with_budget(recipe, "fast", minutes, multiple)
    return plan_stages(recipe, SPENT, INFO, 20_000, image_s, 10.0, with_probe)


@pytest.mark.parametrize(
    ("minutes", "image_s"), itertools.product([0.5, 1.5, 4, 10, 60], [1e-4, 1e-2, 1])
)
def test_a_plan_fits_into_its_budget_unless_nothing_does(minutes, image_s):
    made = plan(minutes, image_s)
    total = made.spent_s + sum(made.stages.values())
    closing = sum(made.stages[name] for name in ("evaluate_model", "export_model", "build_report"))
    start = 20
    assert total <= max(60 * minutes, made.spent_s + start + closing) + 1e-6
    assert made.stages["train"] >= start
    assert list(made.stages)[-4:] == ["train", "evaluate_model", "export_model", "build_report"]


@pytest.mark.parametrize("with_probe", [True, False])
@pytest.mark.parametrize("with_choice", [True, False])
def test_the_advice_of_a_plan_that_is_too_long_holds(with_probe, with_choice):
    def made(minutes):
        recipe = with_budget(Recipe(), "fast", minutes, 1e6)
        return plan_stages(recipe, SPENT, INFO, 20_000, 1e-2, 10.0, with_probe, with_choice)

    def total(plan):
        return (plan.spent_s + sum(plan.stages.values())) / 60

    short = made(1)
    assert total(short) > 1
    assert short.sentence().endswith(f". {short.advice}")
    least, most = map(int, re.findall(r"of(?: at least)? (\d+)", short.advice))
    enough, whole = made(least), made(most)
    assert (enough.advice, whole.advice) == ("", "")
    assert total(enough) <= least
    assert total(made(least - 2)) > least - 2
    assert whole.stages["train"] == pytest.approx(20 + 20_000 * 1e-2 * EVALUATED)
    assert set(SEARCH) < set(whole.stages)
    assert total(whole) <= most


def test_a_length_of_the_user_that_is_too_long_is_not_cut_and_its_minutes_are_named():
    epochs = {"epochs": Setting(7, "pipeline parameter", source="user")}
    users = Recipe().with_settings("training", epochs)
    long = plan_stages(with_budget(users, "fast"), SPENT, INFO, 20_000, 1e-2, 10.0)
    assert long is not None
    assert "the training keeps the length that you set" in long.advice
    (minutes,) = map(int, re.findall(r"of at least (\d+)", long.advice))
    assert plan(minutes, 1e-2, users).advice == ""
    assert plan(minutes, 1e-2, users).stages["train"] == long.stages["train"]


def test_with_time_for_everything_everything_has_its_share():
    made = plan(600, 1e-2)
    assert list(made.stages)[:3] == ["probe_batch_size", *SEARCH]
    assert made.stages["train"] == pytest.approx(20 + 20_000 * 1e-2 * EVALUATED)
    assert affordable_images(made, SEARCH) == pytest.approx(0.5 * 20_000)
    assert affordable_images(made, ["probe_batch_size"]) == pytest.approx(0.1 * 20_000)


def test_a_short_training_leaves_most_of_a_budget_to_nobody():
    made = plan(60, 1e-4)
    assert sum(made.stages.values()) < 300


def test_what_has_no_room_is_left_out_and_has_no_images():
    made = plan(2.5, 1e-1)
    assert set(SEARCH).isdisjoint(made.stages)
    assert affordable_images(made, SEARCH) == 0


def test_a_smaller_budget_means_fewer_images_until_there_are_none():
    images = [affordable_images(plan(minutes, 5e-2), SEARCH) for minutes in range(40, 0, -1)]
    assert images == sorted(images, reverse=True)
    assert images[-1] == 0


def test_the_cost_multiple_limits_what_is_learned_and_not_the_training():
    multiples = (1.0, 1.1, 1.3, 1.6, 9.0)
    plans = [plan(600, 1e-1, multiple=multiple) for multiple in multiples]
    images = [sum(affordable_images(each, names) for names in (PROBE, SEARCH)) for each in plans]
    assert images == pytest.approx([0, 2_000, 6_000, 12_000, 12_000])
    assert len({each.stages["train"] for each in plans}) == 1


def test_a_search_that_begins_late_has_only_what_is_left():
    made, recipe = plan(60, 1e-2, with_probe=False), with_budget(Recipe(), "fast", 60)
    images = [
        search_images(made, recipe, [*SPENT, StageCost("probe_batch_size", seconds, 1)])
        for seconds in (0.0, 1000.0, 3100.0, 3250.0, 9999.0)
    ]
    assert images[0] == images[1] == pytest.approx(10_000)
    assert images[1] > images[2] > images[3] == images[4] == 0


def test_without_a_budget_there_is_no_plan():
    assert plan_stages(Recipe(), SPENT, INFO, 20_000, 1e-2, 10.0) is None


@pytest.mark.parametrize("name", ["epochs", "steps"])
def test_a_preset_leaves_the_length_of_the_user_alone_and_minutes_do_not(name):
    plain, length = Recipe(), {name: Setting(7, "pipeline parameter", source="user")}
    assert not may_cut(plain)
    assert may_cut(with_budget(plain, "fast"))
    users = plain.with_settings("training", length)
    assert not may_cut(with_budget(users, "fast"))
    assert may_cut(with_budget(users, "fast", max_minutes=1.0))


def test_pretraining_has_what_is_left_over_and_no_stage_is_shorter_for_it(monkeypatch):
    monkeypatch.setitem(INFO.splits, "unlabeled", 4000)
    data = {"pretrain": Setting("auto", "test"), "self_train": Setting("never", "test")}
    start = {"initial_weights": Setting("random", "test")}
    with_it = Recipe({"data": data, "model": start})
    without = with_it.with_settings("data", {"pretrain": Setting("never", "test")})
    both = {
        minutes: (plan(minutes, 1e-3, with_it), plan(minutes, 1e-3, without))
        for minutes in (4, 8, 60)
    }
    for made, plain in both.values():
        others = {name: s for name, s in made.stages.items() if name != "pretrain"}
        assert others == plain.stages
    # Fewer passes than are worth it do not begin, unless the user wants them.
    assert all("pretrain" not in both[minutes][0].stages for minutes in (4, 8))
    always = with_it.with_settings("data", {"pretrain": Setting("always", "test", source="user")})
    assert plan(8, 1e-3, always).stages["pretrain"] > 0
    made, recipe = both[60][0], with_budget(with_it, "fast", 60)
    # Fifty passes of two views, by one loss and a third of them by the other; two trainings.
    images = 50 * 2 * 4800 * 4 / 3 + 2 * 20_000
    assert made.stages["pretrain"] == pytest.approx(images * 1e-3 * EVALUATED)
    left = pretraining_seconds(recipe, SPENT, made)
    assert left > made.stages["pretrain"]
    later = sum(made.stages[name] for name in list(made.stages)[-4:])
    assert left + later < 3600 - made.spent_s


def test_self_training_has_what_the_training_has_left_it_however_slow_the_plan_was():
    recipe = with_budget(Recipe(), "fast", 12)
    spent = [*SPENT, StageCost("train", 300.0, 1)]
    # Made while the machine had other things to do.
    made = RunPlan(12.0, 100.0, 0.5, 60.0, {})
    given = (recipe, spent, INFO, made)
    left = 12 * 60 - sum(cost.seconds for cost in spent)
    # Of a stage that is not the first of its task nothing is known.
    for unknown in (0.0, 0.5):
        assert later_seconds("self_train", *given, unknown, 1.0) == pytest.approx(
            left - closing_seconds(INFO, 60.0, 0.1, num_large=1)
        )
        assert start_up_seconds([StageCost(START_UP, unknown, 0)], made) == 60.0
    expected = left - closing_seconds(INFO, 10.0, 0.002, num_large=1)
    assert later_seconds("self_train", *given, 10.0, 0.01) == pytest.approx(expected)
    assert expected > 200
    assert later_seconds("self_train", recipe, spent, INFO, None, 10.0, 0.01) == left


def test_a_stage_after_the_training_leaves_the_later_ones_their_time():
    recipe = with_budget(Recipe(), "fast", 12)
    stages = {"train": 90.0, "self_train": 50.0, "train_teachers": 70.0, "distill": 40.0}
    made = RunPlan(12.0, 100.0, 0.01, 10.0, stages)
    self_train, teachers, distill = (
        later_seconds(name, recipe, SPENT, INFO, made, 10.0, 0.01)
        for name in ("self_train", "train_teachers", "distill")
    )
    assert distill - teachers == pytest.approx(40.0)
    assert teachers - self_train == pytest.approx(70.0)


def test_a_training_that_time_cuts_is_not_cut_again_for_a_teacher_nobody_wants():
    users = {"architecture": Setting("separable", "test", source="user")}
    wishes = {
        wish: Recipe({"data": {"distill": Setting(wish, "test")}, "model": users})
        for wish in ("auto", "always", "never")
    }
    short, long = (
        {wish: plan(minutes, 1e-3, recipe).stages for wish, recipe in wishes.items()}
        for minutes in (2, 60)
    )
    assert short["auto"] == short["never"]
    assert short["always"]["train"] < short["never"]["train"]
    # With time for all nothing is cut.
    assert long["auto"] == long["always"]
    assert long["auto"]["distill"] > 0
    assert long["auto"]["train"] >= 0.9 * long["never"]["train"] - 20.0


def test_a_patient_student_has_what_is_left_over_and_no_stage_is_shorter_for_it(monkeypatch):
    data = {"distill": Setting("always", "test"), "pretrain": Setting("always", "test")}
    recipe = Recipe({"data": data, "model": {"initial_weights": Setting("random", "test")}})
    monkeypatch.setitem(INFO.splits, "unlabeled", 4000)
    minutes = (2, 4, 6, 10, 20, 60, 600)
    patient = {each: plan(each, 5e-3, recipe) for each in minutes}
    monkeypatch.setattr(stage_times, "MOST_PASSES", FEWEST_PASSES)
    hasty = {each: plan(each, 5e-3, recipe) for each in minutes}
    plain = 20_000 * 5e-3 * EVALUATED
    for each, made in patient.items():
        others = {name: s for name, s in made.stages.items() if name != "distill"}
        assert others == {n: s for n, s in hasty[each].stages.items() if n != "distill"}
        more = made.stages["distill"] - hasty[each].stages["distill"]
        assert 0 <= more <= (MOST_PASSES - FEWEST_PASSES) * plain + 1e-6
        assert more == 0 or made.spent_s + sum(made.stages.values()) <= 60 * each + 1e-6
    lengths = [made.stages["distill"] for made in patient.values()]
    assert lengths == sorted(lengths)
    assert patient[2].stages == hasty[2].stages
    # The starts of the training are shared among those that are planned together.
    assert lengths[-1] == pytest.approx(MOST_PASSES * plain, rel=0.05)


def test_what_a_late_run_loses_is_first_the_patience_of_its_student():
    stages = {"search_augmentation": 30.0, "search_trials": 60.0, "train": 90.0, "distill": 900.0}
    patient = RunPlan(20.0, 100.0, 0.01, 10.0, stages)
    hasty = dataclasses.replace(patient, stages={**stages, "distill": FEWEST_PASSES * 90.0})
    recipe, late = with_budget(Recipe(), "fast", 20), [*SPENT, StageCost("choose_network", 800, 0)]
    for given in (patient, hasty):
        assert search_images(given, recipe, late) == search_images(hasty, recipe, late) > 0
        left = later_seconds("train_teachers", recipe, late, INFO, given, 10.0, 0.01)
        assert left == later_seconds("train_teachers", recipe, late, INFO, hasty, 10.0, 0.01)
        assert pretraining_seconds(recipe, late, given) == pretraining_seconds(recipe, late, hasty)


# A lesson and its rival; or three, and networks on half of the labels and on all of them.
@pytest.mark.parametrize(("validation", "lessons"), [(99, 3 + 1.5), (100, 2)])
def test_a_trial_has_its_share_of_the_plan(validation, lessons):
    splits = {**INFO.splits, "validation": validation, "unlabeled": 8_000}
    info = dataclasses.replace(INFO, splits=splits)
    data = {"self_train": Setting("auto", "test")}
    recipe = with_budget(Recipe({"data": data}), "fast", 600)
    made = plan_stages(recipe, SPENT, info, 20_000, 1e-2, 10.0)
    assert made is not None
    # Of as many images as the training, each.
    assert made.stages["self_train"] == pytest.approx(lessons * made.stages["train"])


def _with_unlabeled(minutes, validation, unlabeled, start_up_s=10.0):
    splits = {**INFO.splits, "validation": validation, "unlabeled": unlabeled}
    info = dataclasses.replace(INFO, splits=splits)
    recipe = with_budget(Recipe({"data": {"self_train": Setting("auto", "test")}}), "fast", minutes)
    return plan_stages(recipe, SPENT, info, 20_000, 1e-2, start_up_s), recipe, info


@pytest.mark.parametrize("validation", [99, 100])
@pytest.mark.parametrize("unlabeled", [2_000, 60_000, 1_000_000])
@pytest.mark.parametrize("minutes", [4, 8, 12])
def test_images_without_labels_take_no_more_than_half_of_what_the_training_needs(
    minutes, unlabeled, validation
):
    made, recipe, info = _with_unlabeled(minutes, validation, unlabeled)
    train, own = made.stages["train"], made.stages["self_train"]
    # It needs 253 s.
    assert own == pytest.approx(train) if train < 250 else own > 0
    assert made.spent_s + sum(made.stages.values()) <= 60 * minutes + 1e-6
    for plan_of_run in (made, None):
        assert training_share(recipe, info, 20_000, plan_of_run) >= 0.5 - 1e-9


@pytest.mark.parametrize("start_up_s", [15.0, 25.0, 35.0])
@pytest.mark.parametrize("minutes", [1, 4, 8])
def test_where_starts_take_all_time_no_stage_is_planned_for_less_than_none(minutes, start_up_s):
    made, recipe, info = _with_unlabeled(minutes, 100, 4_000, start_up_s)
    assert min(made.stages.values()) >= 0
    assert 0.5 - 1e-9 <= training_share(recipe, info, 20_000, made) <= 1


def test_what_a_training_leaves_is_that_of_images_without_labels():
    needed = 20 + 20_000 * 1e-2 * EVALUATED
    made, recipe, info = _with_unlabeled(30, 100, 60_000)
    assert made.stages["train"] >= 0.9 * needed
    assert made.stages["self_train"] > 2 * needed
    # Less what is not counted, and the reserve.
    assert made.spent_s + sum(made.stages.values()) == pytest.approx(30 * 60, abs=60)
    # A training that is slower than planned still has half.
    assert training_share(recipe, info, 20_000, made) == pytest.approx(0.5)
    # A lesson of two passes, four of five images without labels, its rival, and no more.
    made, *_ = _with_unlabeled(600, 100, 60_000)
    lesson = 60_000 * 2 / 0.8 / 20_000
    assert made.stages["self_train"] == pytest.approx(2 * lesson * made.stages["train"])


@pytest.mark.parametrize(
    ("architecture", "num_large"), [("separable", 1), ("efficientnet_lite0_imagenet", 2)]
)
def test_what_follows_an_ensemble_is_planned_for_all_of_its_networks(architecture, num_large):
    made, left = {}, {}
    for deploy in ("model", "ensemble"):
        values = {"teachers": 2, "deploy": deploy, "distill": "never"}
        data = {name: Setting(value, "test") for name, value in values.items()}
        model = {"architecture": Setting(architecture, "test", source="user")}
        recipe = with_budget(Recipe({"data": data, "model": model}), "fast", 60)
        made[deploy] = plan(60, 1e-2, recipe)
        known = RunPlan(60.0, 100.0, 1e-2, 10.0, {})
        left[deploy] = later_seconds("train_teachers", recipe, SPENT, INFO, known, 10.0, 1e-2)
    more = {
        name: made["ensemble"].stages[name] - made["model"].stages[name]
        for name in ("evaluate_model", "export_model", "build_report")
    }
    # Two networks of twice the size beside the model: 4 forward passes more, each a fifth of a
    # step; and the files of pretrained ones, 45 s each.
    forward_s = 1e-2 / 5
    assert more == pytest.approx(
        {
            "evaluate_model": 4 * (100 + 2 * 100) * forward_s,
            "export_model": 4 * (8 * 100 + 5 * 50) * forward_s + num_large * 45.0,
            "build_report": 0.0,
        }
    )
    # That stage knows its networks and leaves what their passes take, but not what their files do.
    assert left["model"] - left["ensemble"] == pytest.approx(1.15 * num_large * 45.0)
