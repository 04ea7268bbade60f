"""What has become of a training: the recipe that was trained, and the result with its warnings."""

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.recipe import budget, hyperparameters
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.precision import read_precision
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import describe_check

__all__ = ["describe_cut", "recipe_as_trained", "training_result"]

# Of the time of the steps: the share that waits, from so many seconds of waiting on.
_MUCH_WAITING, _LONG_WAITING_S = 0.2, 60.0


def recipe_as_trained(recipe: Recipe, info: DatasetInfo, history: History) -> Recipe:
    """Returns the recipe with the settings that repairs and a lack of time have changed."""
    if history.repairs:
        recipe = _as_repaired(recipe, info, history)
    if history.warmup_steps == history.settings.warmup_steps:
        return recipe
    shorter = Setting(
        history.warmup_steps,
        "half of the steps that there was time for",
        {"before": history.settings.warmup_steps, "steps": history.total_steps},
    )
    return recipe.with_settings(hyperparameters.SECTION, {"warmup_steps": shorter})


def _as_repaired(recipe: Recipe, info: DatasetInfo, history: History) -> Recipe:
    section = recipe.sections[hyperparameters.SECTION]
    repaired = {
        name: Setting(
            getattr(history.settings, name),
            "repaired in training: half the batch and the rate that belongs to it",
            {"before": section[name].value, "reasons": history.repairs},
        )
        for name in ("batch_size", "learning_rate", "steps", "warmup_steps")
    }
    # What was learned for the batch before has trained with this one: together they are a recipe.
    learned = {name: setting for name, setting in section.items() if setting.is_for_context}
    facts = fixed_facts(recipe, info)
    return hyperparameters.learn(recipe, hyperparameters.SECTION, learned | repaired, facts)


def _describe_batch(settings: Hyperparameters, num_images: int) -> list[str]:
    """Returns a warning where one step takes more images than there are."""
    if settings.batch_size <= num_images:
        return []
    return [
        f"`batch_size` is larger than the training split ({settings.batch_size:,} of "
        f"{num_images:,} images): every step repeats images, and only {settings.steps:,} steps "
        "were planned. Choose a smaller one."
    ]


def describe_cut(
    recipe: Recipe, training: str, steps: int, planned: int, warmup: str = ""
) -> list[str]:
    """Returns a warning where the time was too short for a training."""
    if steps >= planned:
        return []
    return [
        f"The budget of {recipe.value(budget.SECTION, 'minutes'):g} minutes shortened {training} "
        f"to {steps:,} of {planned:,} steps{warmup}. `max_minutes` or `preset` gives it more."
    ]


def _describe_waiting(history: History) -> list[str]:
    """Returns a warning where images came too slowly for the steps."""
    share = history.wait_seconds / history.step_seconds
    if share < _MUCH_WAITING or history.wait_seconds < _LONG_WAITING_S:
        return []
    return [
        f"{share:.0%} of the time of the steps waited for images. Raise `image_cache_gib` where it "
        "leaves some to be decoded again; else use more CPU cores, or a faster disk."
    ]


def training_result(run: TrainingRun, history: History, recipe: Recipe) -> TrainingResult:
    """Returns what a training measured, and its warnings."""
    best, settings, model = history.best[0], history.settings, run.trainer.model
    warnings = [*history.repairs, *describe_check(run.trainer, history.checks)]
    warnings += _describe_batch(settings, len(run.train)) + _describe_waiting(history)
    images_seen = history.step * settings.batch_size
    if history.num_passed_over:
        warnings.append(
            f"{history.num_passed_over} evaluations on the validation images gave a loss that is "
            "not finite; they were passed over."
        )
    warmup = f", {history.warmup_steps:,} of them for the warm-up"
    warnings += describe_cut(recipe, "the training", history.total_steps, settings.steps, warmup)
    return TrainingResult(
        architecture=recipe.value("model", "architecture"),
        trainable="all",
        parameters=model.count_params(),
        image_size=list(recipe.value("model", "image_size")),
        precision=read_precision(model),
        seed=run.seed,
        steps=history.step,
        best_step=best["step"],
        validation=best["metrics"],
        seconds=history.seconds,
        plain_seconds=history.setup_seconds
        + (history.seconds - history.step_seconds)
        + history.step_seconds * history.plain_share,
        images_seen=images_seen,
        images_per_second=images_seen / history.step_seconds,
        waiting_share=history.wait_seconds / history.step_seconds,
        checks=history.checks,
        warnings=warnings,
        planned_steps=settings.steps,
    )
