"""The whole search on real digits, killed in the middle, and a search that is switched off."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.shared.artifacts.augmentation_table import START, AugmentationTable
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, SearchResult, Trial
from kfp_vision.components.shared.augmentation.known_policies import trivial_augment
from kfp_vision.components.shared.datasets.store import open_split, write_thin_split
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import learn, resolve
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.setup import complete_recipe, recipe_policy
from kfp_vision.components.trial_search.recording import STEP_MULTIPLIER
from kfp_vision.components.trial_search.search import (
    Inputs,
    propose_trials,
    run_trials,
    search_trials,
)

_EPOCHS = 80


def _recipe(digits_dir: Path, folder: Path, epochs: int = _EPOCHS) -> Path:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = Recipe().with_settings("data", data)
    settings = {
        "label_smoothing": Setting(0.1, "test", source="user"),
    }
    recipe = recipe.with_settings("training", settings)
    recipe = complete_recipe(recipe, info, UserChoices())
    # Learned, so that a policy may lengthen it.
    facts, length = fixed_facts(recipe, info), {"epochs": Setting(epochs, "test")}
    recipe = resolve(learn(recipe, "training", length, facts), {}, info.splits["train"], facts)
    write_recipe(recipe, folder / "in.json")
    return folder / "in.json"


@pytest.fixture(scope="module")
def searched(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished search: in.json, table, ck, out."""
    folder = tmp_path_factory.mktemp("searched")
    path, table, checkpoints = _recipe(digits_dir, folder), folder / "table", folder / "ck"
    search_augmentation(digits_dir, path, table, checkpoints, search=True, seed=3)
    inputs = Inputs(digits_dir, path, table)
    search_trials(inputs, [], folder / "out", checkpoints, seed=3)
    return folder


def _trials(searched: Path) -> list[Trial]:
    return read_json(SearchResult, searched / "out/search.json").trials


@pytest.mark.slow
def test_the_table_refuses_what_destroys_digits_and_shows_every_transform(searched: Path) -> None:
    table = read_json(AugmentationTable, searched / "table/table.json")
    assert table.skipped == ""
    kept = {row.transform: row for row in table.kept}
    assert not any(kept["vertical_flip"].kept)
    assert not any(kept["invert"].kept)
    assert any(kept["translate_x"].kept)
    # Half a turn makes a 6 a 9.
    assert not kept["rotate"].kept[-1] or kept["rotate"].levels[-1] < 0.9
    with np.load(searched / "table/examples.npz", allow_pickle=False) as examples:
        assert set(examples.files) == {"original", *kept}
        for name in kept:
            assert examples[name].shape == (6, *examples["original"].shape)
    # What the user has set is not searched.
    assert set(table.regularisers) == {"weight_decay", "dropout", "stochastic_depth"}
    subset = np.load(searched / "table/subset.npy", allow_pickle=False)
    assert len(np.unique(subset)) == len(subset) == 250


@pytest.mark.slow
def test_the_search_stays_within_its_budget_and_tells_what_it_did(searched: Path) -> None:
    result = read_json(SearchResult, searched / "out/search.json")
    before, after = (read_recipe(searched / name) for name in ("in.json", "out/recipe.json"))
    plan = read_json(AugmentationTable, searched / "table/table.json").plan
    assert plan
    confirmed = sum(trial.round == ROUNDS[-1] for trial in result.trials)
    assert confirmed <= plan.num_confirmed
    assert 0 < len(result.trials) - confirmed <= plan.num_trials
    costs = [
        read_json(StageCost, searched / stage / COST_FILE).images_seen for stage in ("table", "out")
    ]
    assert sum(costs) <= 0.5 * _EPOCHS * 1000
    assert costs[1] == plan.images_of(len(result.trials) - confirmed, confirmed)
    assert result.decision
    policy = recipe_policy(after)
    accepted = result.confirmed is not None and result.confirmed.accepted
    assert accepted == (
        policy is not None or after.sections["training"] != before.sections["training"]
    )
    if policy is not None:
        branches = [each for branch in policy.branches for each in branch.operations]
        used = {each.transform for each in [*policy.always, *branches]}
        assert not used & {"vertical_flip", "invert"}
        factor = after.value("training", "steps") / before.value("training", "steps")
        assert factor == pytest.approx(STEP_MULTIPLIER, abs=1e-2)


@pytest.mark.slow
def test_a_search_that_goes_on_has_the_plan_and_the_table_it_had(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    """Its trials are found by the digest of the table."""
    checkpoints = tmp_path / "ck"
    shutil.copytree(searched / "ck", checkpoints)
    (kept,) = checkpoints.glob("augmentation-*/measured.json")
    before = kept.stat().st_mtime_ns
    # What the killed process has spent is not known: the time left is another.
    budget = RunPlan(1.0, 50.0, 0.01, 1.0, {"search_augmentation": 5.0, "search_trials": 5.0})
    paths = digits_dir, searched / "in.json", tmp_path / "table", checkpoints
    search_augmentation(*paths, True, 3, budget=budget)
    for name in ("table.json", "examples.npz", *START):
        written, first = (root / "table" / name for root in (tmp_path, searched))
        assert written.read_bytes() == first.read_bytes(), name
    assert kept.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_killed_search_repeats_no_trial_and_decides_the_same(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    inputs = Inputs(digits_dir, searched / "in.json", searched / "table")
    trials = _trials(searched)
    # The journal of a process that was killed while it wrote its last trial.
    rows = [json_text(trial) for trial in trials]
    (folder,) = (searched / "ck").glob("trials-*")
    journal = tmp_path / folder.name
    journal.mkdir()
    (journal / "killed.jsonl").write_text("\n".join(rows[:-1]) + "\n" + rows[-1][:40])
    resumed = search_trials(inputs, [], tmp_path / "out", tmp_path, seed=3)
    assert resumed.trials[:-1] == trials[:-1]
    assert resumed.trials[-1].loss == pytest.approx(trials[-1].loss, rel=1e-6)
    lines = [p.read_text().splitlines() for p in journal.glob("*.jsonl") if p.stem != "killed"]
    assert [len(each) for each in lines] == [1]


@pytest.mark.slow
def test_several_workers_find_what_one_finds(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    inputs = Inputs(digits_dir, searched / "in.json", searched / "table")
    results: list[Path] = []
    for name in ROUNDS:
        proposal = tmp_path / name
        propose_trials(inputs.table, results, 2, 3, proposal)
        results = [proposal / str(worker) for worker in range(2)]
        # The journal of the search with one worker answers for both.
        for worker, folder in enumerate(results):
            run_trials(inputs, proposal, worker, folder, searched / "ck")
    # Where nothing is missing, no image is read.
    (tmp_path / "info").mkdir()
    shutil.copy(digits_dir / "dataset.json", tmp_path / "info")
    inputs = dataclasses.replace(inputs, dataset=tmp_path / "info")
    found = search_trials(inputs, results, tmp_path / "out", tmp_path, seed=3)
    assert {each.key: each.losses for each in found.trials} == {
        each.key: each.losses for each in _trials(searched)
    }
    assert (tmp_path / "out/recipe.json").read_bytes() == (
        searched / "out/recipe.json"
    ).read_bytes()
    assert len(found.trials) == len(_trials(searched))
    assert not list(tmp_path.glob("trials-*"))


@pytest.mark.slow
def test_a_trial_takes_its_steps_and_ends_with_the_statistics_of_clean_images(
    digits_dir: Path, searched: Path
) -> None:
    from kfp_vision.components.shared.architectures.norms import norm_layers
    from kfp_vision.components.trial_search.regularisation import Regularisation
    from kfp_vision.components.trial_search.trial import TrialRunner

    recipe = read_recipe(searched / "in.json")
    plan = read_json(AugmentationTable, searched / "table/table.json").plan
    assert plan
    runner = TrialRunner(digits_dir, recipe, searched / "table", plan)
    trainer = runner._baseline
    before = int(trainer.optimizer.iterations)
    losses = runner.run(Regularisation(trivial_augment(), {}), 0)
    # Parts of different images.
    assert len(set(losses)) == 8
    assert [sum(map(len, rows)) for rows in runner._scored] == [
        plan.num_scored,
        plan.num_confirming,
    ]
    # Other images and other random numbers confirm.
    assert not any(set(one) & set(two) for one, two in zip(*runner._scored, strict=True))
    assert not set(runner.run(Regularisation(trivial_augment(), {}), 1, True)) & set(losses)
    assert int(trainer.optimizer.iterations) - before == plan.steps
    assert set(runner._recalibrating) <= set(runner._known)
    norms = list(norm_layers(trainer.model))
    assert norms
    found = [np.array(norm.moving_variance) for norm in norms]
    images, _ = runner._train.take(runner._recalibrating)
    trainer.recalibrate_batch_norm([images])
    for norm, variance in zip(norms, found, strict=True):
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


@pytest.mark.slow
def test_a_trial_reads_the_images_alone_that_it_learns_or_is_scored_by(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    from kfp_vision.components.trial_search.regularisation import Regularisation
    from kfp_vision.components.trial_search.trial import TrialRunner

    recipe, table = read_recipe(searched / "in.json"), searched / "table"
    plan = read_json(AugmentationTable, table / "table.json").plan
    assert plan
    plan = dataclasses.replace(plan, num_scored=64, num_confirming=128)
    whole = TrialRunner(digits_dir, recipe, table, plan)
    validation, train = zip(*whole._scored, strict=True)
    shutil.copy(digits_dir / "dataset.json", tmp_path)
    write_thin_split(digits_dir, "validation", np.concatenate(validation), tmp_path)
    write_thin_split(digits_dir, "train", np.concatenate([whole._known, *train]), tmp_path)
    images = open_split(tmp_path, "train")["image"].to_pylist()
    assert images.count(b"") == 1000 - 250 - sum(map(len, train)) > 0
    # Its journal and the decoded images that others have kept are the same, too.
    assert training_identity(tmp_path, recipe) == training_identity(digits_dir, recipe)
    thin = TrialRunner(tmp_path, recipe, table, plan)
    for confirming in (False, True):
        arguments = Regularisation(trivial_augment(), {}), 0, confirming
        assert thin.run(*arguments) == whole.run(*arguments)


def test_a_training_too_short_for_a_search_trains_no_checkpoint(
    digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path, epochs=2)
    table = search_augmentation(digits_dir, path, tmp_path / "table", tmp_path, True, seed=3)
    assert "50% of the training budget is too small" in table.skipped
    assert table.images_seen == 0
    assert not (tmp_path / "table/checkpoint.npz").exists()


def test_a_search_that_its_budget_does_not_afford_trains_no_checkpoint(
    digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path, epochs=200)
    plan = RunPlan(4.0, 100.0, 0.001, 20.0, {"train": 60.0, "evaluate_model": 60.0})
    folders = (digits_dir, path, tmp_path / "table", tmp_path)
    table = search_augmentation(*folders, True, seed=3, budget=plan)
    assert "the budget of 4 minutes leaves no time for a checkpoint" in table.skipped
    assert not (tmp_path / "table/checkpoint.npz").exists()


def test_a_search_that_is_off_starts_no_framework_and_changes_nothing(
    digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path)
    code = """
import sys
from pathlib import Path
from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.trial_search.search import (
    Inputs, propose_trials, run_trials, search_trials
)
data, path, table, out = map(Path, sys.argv[1:])
search_augmentation(data, path, table, table, search=False, seed=0)
inputs = Inputs(data, path, table)
propose_trials(inputs.table, [], workers=4, seed=0, output_dir=out)
run_trials(inputs, out, 3, out / "3", table)
search_trials(inputs, [out / "3"], out, table, 0)
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    folders = [digits_dir, path, tmp_path / "table", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", code, *map(str, folders)], check=True)
    assert (tmp_path / "out/recipe.json").read_bytes() == path.read_bytes()
    result = read_json(SearchResult, tmp_path / "out/search.json")
    assert result.skipped == "`search_augmentation` is false"
