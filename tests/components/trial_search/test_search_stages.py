"""The whole search on real digits, killed in the middle, and a search that is switched off."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, TrialSummary
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import learn, resolve
from kfp_vision.components.shared.search.plan import plan_search
from kfp_vision.components.shared.training.setup import (
    UserChoices,
    complete_recipe,
    recipe_policy,
)
from kfp_vision.components.trial_search.proposing import merge_results, propose_trials
from kfp_vision.components.trial_search.selecting import select_policy
from kfp_vision.components.trial_search.working import run_trials

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
    """Folder of a finished search: in.json, table, slices.json, results.json, ck, out."""
    folder = tmp_path_factory.mktemp("searched")
    path, table, checkpoints = _recipe(digits_dir, folder), folder / "table", folder / "ck"
    search_augmentation(digits_dir, path, table, checkpoints, search=True, seed=3)
    results: list[str] = []
    rounds = []
    for name in ROUNDS:
        slices = propose_trials(name, digits_dir, path, table, results, workers=2, seed=3)
        results = [run_trials(each, digits_dir, path, table, checkpoints) for each in slices]
        rounds.append({"slices": slices, "results": results})
    (folder / "rounds.json").write_text(json.dumps(rounds))
    select_policy(digits_dir, path, table, results, folder / "out", seed=3)
    return folder


@pytest.mark.slow
def test_the_table_refuses_what_destroys_digits_and_shows_every_transform(searched: Path) -> None:
    table = read_json(AugmentationTable, searched / "table/table.json")
    assert table.skipped == ""
    kept = {row["transform"]: row for row in table.kept}
    assert not any(kept["vertical_flip"]["kept"])
    assert not any(kept["invert"]["kept"])
    assert any(kept["translate_x"]["kept"])
    # Half a turn makes a 6 a 9.
    assert not kept["rotate"]["kept"][-1] or kept["rotate"]["levels"][-1] < 0.9
    with np.load(searched / "table/examples.npz", allow_pickle=False) as examples:
        assert set(examples.files) == {"original", *kept}
        for name in kept:
            assert examples[name].shape == (6, *examples["original"].shape)
    # What the user has set is not searched.
    assert set(table.regularisers) == {"weight_decay", "dropout", "stochastic_depth"}
    subset = np.load(searched / "table/subset.npy", allow_pickle=False)
    assert len(np.unique(subset)) == len(subset) == 250


@pytest.mark.slow
def test_the_search_stays_within_its_budget_and_tells_what_it_did(
    digits_dir: Path, searched: Path
) -> None:
    summary = read_json(TrialSummary, searched / "out/search.json")
    before, after = (read_recipe(searched / name) for name in ("in.json", "out/recipe.json"))
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    plan = plan_search(before, info)
    most = plan.num_screened + plan.num_combined + plan.num_confirmed
    assert 0 < len(summary.trials) <= most
    costs = [
        read_json(StageCost, searched / stage / COST_FILE).images_seen for stage in ("table", "out")
    ]
    assert sum(costs) <= 0.6 * _EPOCHS * 1000
    looked = plan.num_settling + plan.num_scored
    # Two trainings as long as a trial tell the length with a policy.
    trainings = len(summary.trials) + 2 * bool(summary.lengthening)
    seen = trainings * plan.steps * plan.batch_size + len(summary.trials) * looked
    confirmed = sum(trial["round"] == ROUNDS[-1] for trial in summary.trials)
    seen += confirmed * (plan.num_confirming - plan.num_scored)
    assert costs[1] == seen
    assert summary.decision
    policy = recipe_policy(after)
    assert summary.accepted == (
        policy is not None or after.sections["training"] != before.sections["training"]
    )
    if policy is not None:
        branches = [each for branch in policy.branches for each in branch.operations]
        used = {each.transform for each in [*policy.always, *branches]}
        assert not used & {"vertical_flip", "invert"}
        factor = after.value("training", "steps") / before.value("training", "steps")
        assert factor == pytest.approx(summary.lengthening["factor"], abs=1e-2)


@pytest.mark.slow
def test_a_killed_worker_repeats_no_trial_and_a_repeated_one_has_the_same_loss(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    screening = json.loads((searched / "rounds.json").read_text())[0]
    path, table = searched / "in.json", searched / "table"
    work, expected = screening["slices"][0], merge_results(screening["results"][:1])
    # The journal of a worker that was killed while it wrote its last trial.
    rows = [json.dumps(trial.to_json()) for trial in expected]
    (folder,) = (searched / "ck").glob("trials-*")
    journal = tmp_path / folder.name
    journal.mkdir()
    (journal / "killed.jsonl").write_text("\n".join(rows[:-1]) + "\n" + rows[-1][:40])
    resumed = merge_results([run_trials(work, digits_dir, path, table, tmp_path)])
    assert resumed[:-1] == expected[:-1]
    assert resumed[-1].loss == pytest.approx(expected[-1].loss, rel=1e-6)
    lines = [p.read_text().splitlines() for p in journal.glob("*.jsonl") if p.stem != "killed"]
    assert [len(each) for each in lines] == [1]
    again = merge_results([run_trials(work, digits_dir, path, table, tmp_path)])
    assert again == resumed


@pytest.mark.slow
def test_a_trial_takes_its_steps_and_ends_with_the_statistics_of_clean_images(
    digits_dir: Path, searched: Path
) -> None:
    from kfp_vision.components.shared.architectures.norms import norm_layers
    from kfp_vision.components.trial_search.known_policies import trivial_augment
    from kfp_vision.components.trial_search.regularisation import Regularisation
    from kfp_vision.components.trial_search.trial import TrialRunner

    recipe = read_recipe(searched / "in.json")
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    plan = plan_search(recipe, info)
    runner = TrialRunner(digits_dir, recipe, searched / "table", plan)
    trainer = runner._plain
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
    assert set(runner._settling) <= set(runner._known)
    norms = list(norm_layers(trainer.model))
    assert norms
    found = [np.array(norm.moving_variance) for norm in norms]
    images, _ = runner._train.take(runner._settling)
    trainer.recalibrate_batch_norm([images])
    for norm, variance in zip(norms, found, strict=True):
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


@pytest.mark.slow
def test_a_short_search_looks_at_what_is_customary_and_refuses_mirrored_digits(
    digits_dir: Path, tmp_path: Path
) -> None:
    path, folder, checkpoints = _recipe(digits_dir, tmp_path, 40), tmp_path / "t", tmp_path / "ck"
    table = search_augmentation(digits_dir, path, folder, checkpoints, search=True, seed=3)
    assert {row["transform"] for row in table.signals} == {
        "horizontal_flip",
        "translate_x",
        "translate_y",
    }
    results: list[str] = []
    for name in ROUNDS:
        slices = propose_trials(name, digits_dir, path, folder, results, workers=1, seed=3)
        results = [run_trials(each, digits_dir, path, folder, checkpoints) for each in slices]
    summary = select_policy(digits_dir, path, folder, results, tmp_path / "out", seed=3)
    assert {trial["round"] for trial in summary.trials} == {ROUNDS[0]}
    assert 2 <= len(summary.trials) <= 4
    assert "horizontal_flip" not in {step["name"] for step in summary.steps}
    assert summary.confirmed == {}
    assert "only tell what does harm" in summary.decision
    costs = [
        read_json(StageCost, each / COST_FILE).images_seen for each in (folder, path.parent / "out")
    ]
    assert sum(costs) <= 0.6 * 40 * 1000


def test_a_training_too_short_for_a_search_trains_no_checkpoint(
    digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path, epochs=2)
    table = search_augmentation(digits_dir, path, tmp_path / "table", tmp_path, True, seed=3)
    assert "a plain training is so short" in table.skipped
    assert table.images_seen == 0
    assert not (tmp_path / "table/checkpoint.npz").exists()


@pytest.mark.slow
def test_a_plain_training_that_affords_too_few_trials_changes_nothing(
    digits_dir: Path, searched: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path, epochs=2)
    slices = propose_trials(ROUNDS[0], digits_dir, path, searched / "table", [], workers=2, seed=3)
    assert [json.loads(each) for each in slices] == [{"done": [], "trials": []}]
    summary = select_policy(digits_dir, path, searched / "table", ["[]"], tmp_path / "out", seed=3)
    assert "too few trials" in summary.decision
    assert (tmp_path / "out/recipe.json").read_bytes() == path.read_bytes()


def test_a_search_that_is_off_starts_no_framework_and_changes_nothing(
    digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(digits_dir, tmp_path)
    code = """
import sys
from pathlib import Path
from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.trial_search.proposing import propose_trials
from kfp_vision.components.trial_search.selecting import select_policy
from kfp_vision.components.trial_search.working import run_trials
data, path, table, out = map(Path, sys.argv[1:])
search_augmentation(data, path, table, table, search=False, seed=0)
(work,) = propose_trials("screening", data, path, table, [], workers=4, seed=0)
select_policy(data, path, table, [run_trials(work, data, path, table, table)], out, 0)
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    folders = [digits_dir, path, tmp_path / "table", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", code, *map(str, folders)], check=True)
    assert (tmp_path / "out/recipe.json").read_bytes() == path.read_bytes()
    summary = read_json(TrialSummary, tmp_path / "out/search.json")
    assert summary.skipped == "`search_augmentation` is false"
