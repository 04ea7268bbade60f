"""A training of few epochs is evaluated less often, whatever stage it belongs to."""

from pathlib import Path

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.evaluations import evaluations_of
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split


def test_a_training_of_one_epoch_has_fewer_evaluations_than_its_stage_wants(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    choices = UserChoices(architecture=small_model, batch_size=20, epochs=1)
    average = {"ema_momentum": Setting(0.0, "test", source="user")}
    recipe = complete_recipe(Recipe({"data": data, "training": average}), info, choices)
    trainer, task, settings = build_trainer(recipe, info, 0)
    train, validation = (open_split(digits_dir, split, recipe) for split in ("train", "validation"))
    run = TrainingRun(
        trainer,
        task,
        train,
        validation,
        primary_metric="accuracy",
        checkpoint_dir=tmp_path,
        start=lambda s: History(s, s.steps, {"initial_loss": 9.0}, num_evaluations=20),
    )
    history = fit(run, settings)
    evaluations = {row["step"] for row in history.curves if row["split"] == "validation"}
    most = evaluations_of(len(train), len(validation))
    # The interval is a whole number of steps.
    assert most <= len(evaluations) <= most + 1 < 15
