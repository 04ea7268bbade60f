"""Finds batch size, learning rate and length by measurement, at a stated share of one training."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.batch_size_probe.limits import check_enlargement, check_memory
from kfp_vision.components.batch_size_probe.measuring import (
    BATCH_SIZES,
    LEARNING_SHARE,
    PROBE_SHARE,
    measure_settings,
)
from kfp_vision.components.batch_size_probe.pilot import Lengths, plan_lengths
from kfp_vision.components.batch_size_probe.stage_report import probe_report
from kfp_vision.components.batch_size_probe.timing import time_steps
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.probe_result import ProbeResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe import budget
from kfp_vision.components.shared.recipe.context import explain_dropped, fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import (
    SECTION,
    training_facts,
)
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.recipe.stage_times import affordable_images, plan_stages
from kfp_vision.components.shared.recipe.time_for_stages import start_up_seconds
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    complete_recipe,
    example_targets,
    open_split,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["ProbeConfig", "probe_batch_size"]

_STAGE = "probe_batch_size"
_LOOKED_AT = 256
_MEASURED = ("batch_size", "learning_rate")
_LEARNED = (
    *_MEASURED,
    "noise_scale",
    "epochs",
    "weight_decay",
    "clip_norm",
    "steps_per_call",
    "jit_compile",
)


@dataclasses.dataclass(frozen=True)
class ProbeConfig(UserChoices):
    """What the user may set.

    Attributes:
        learn: False keeps what the recipe and the user say.
    """

    learn: bool = True


@explains_full_disk("output_dir")
@Progress("probe")
def probe_batch_size(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    config: ProbeConfig,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
) -> ProbeResult:
    """Measures and writes `probe.json`, `recipe.json`, `stage_report.json` and `cost.json`.

    Args:
        dataset_dir: Folder of the dataset.
        recipe_path: The recipe so far; what a user has set stays.
        output_dir: Is created.
        config: The user's wishes, which go into the recipe for the stages that follow.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.

    Raises:
        ValueError: A setting is out of range, the images may not be enlarged so much, or no
            learning rate keeps the loss finite.
        NotFiniteError: The loss is NaN from the start.
        MemoryError: The user's batch, or the smallest one, does not fit into memory.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    start = read_recipe(recipe_path)
    recipe = complete_recipe(start, info, config)
    facts = fixed_facts(recipe, info)
    notes = explain_dropped(start, recipe, facts | training_facts(recipe))
    # What an earlier run learned must not influence what is learned now.
    plain = complete_recipe(_forget(recipe), info, config)
    num_images = info.splits["train"]
    plain_images = round(plain.value(SECTION, "epochs") * num_images)
    batch_size = max(2, min(64, num_images // 4) // 2 * 2)
    lengths = plan_lengths(plain_images, batch_size, LEARNING_SHARE)
    skipped = _reason_to_skip(recipe, config, plain_images, lengths)
    checked = _check_size(
        recipe, info, batch_size=0 if skipped else min(BATCH_SIZES[0], batch_size)
    )

    def plan_rest(recipe: Recipe, image_s: float, with_probe: bool) -> RunPlan | None:
        now = StageCost(_STAGE, time.monotonic() - started, 0)
        # A head is solved on cached features.
        is_frozen = recipe.value("model", "trainable") == "head"
        seen = 0 if is_frozen else round(recipe.value(SECTION, "epochs") * num_images)
        start_up_s = start_up_seconds(spent)
        return plan_stages(recipe, [*spent, now], info, seen, image_s, start_up_s, with_probe)

    image_s = None if checked is None else _image_seconds(dataset_dir, recipe, *checked)
    affordable = float(plain_images)
    if image_s and not skipped and (plan := plan_rest(plain, image_s, with_probe=True)):
        affordable = min(affordable, affordable_images(plan, [_STAGE]) / PROBE_SHARE)
        lengths = plan_lengths(round(affordable), batch_size, LEARNING_SHARE)
        if lengths is None:
            skipped = (
                f"the budget of {plan.minutes:g} minutes leaves no time for it, so the defaults "
                "stay"
            )
    images = None
    if not skipped:
        images = open_split(dataset_dir, "train", recipe, cache)
        rows = np.arange(min(_LOOKED_AT, len(images)))
        first = images.source.take(rows[:1])
        if all((pixels == first).all() for pixels, _ in images.batches_of(rows)):
            skipped = f"the first {len(rows)} training images are all the same: nothing to learn"
    if skipped or images is None or lengths is None:
        result = ProbeResult(skipped=skipped)
    else:
        result, recipe = measure_settings(
            dataset_dir,
            plain,
            info,
            images,
            lengths,
            batch_size,
            plain_images,
            affordable,
            config.seed,
        )
    plan = plan_rest(recipe, image_s, with_probe=False) if image_s else None
    if plan:
        show_note(plan.sentence())
    result = dataclasses.replace(
        result, notes=[*notes, *result.notes], seconds=time.monotonic() - started
    )
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(result, output_dir / "probe.json")
    write_stage_report(probe_report(result, recipe, plan), output_dir)
    write_json(StageCost(_STAGE, result.seconds, result.images_seen), output_dir / COST_FILE)
    return result


def _forget(recipe: Recipe) -> Recipe:
    """Returns the recipe without what this stage has learned in an earlier run."""
    kept = {
        name: setting
        for name, setting in recipe.sections[SECTION].items()
        if name not in _LEARNED or setting.source != "learned"
    }
    return Recipe({**recipe.sections, SECTION: kept})


def _image_seconds(
    dataset_dir: Path, recipe: Recipe, trainer: Trainer, batch_size: int
) -> float | None:
    """Returns the seconds of one image in a training step; None without a budget to plan."""
    if recipe.get(budget.SECTION, "minutes") is None:
        return None
    example = functools.partial(example_targets, dataset_dir, recipe)
    return 1 / time_steps(trainer, example, batch_size, num_steps=1)


def _check_size(recipe: Recipe, info: DatasetInfo, batch_size: int) -> tuple[Trainer, int] | None:
    """Checks what the user has asked for, or the smallest batch that is measured.

    Returns a trainer and a batch that it can take; None on GPUs.

    Args:
        recipe: Complete.
        info: Of the dataset.
        batch_size: The smallest that is measured; 0 where none is, and that of the recipe trains.
    """
    check_enlargement(recipe, info)
    if recipe.value("model", "trainable") == "head":
        return None
    on_gpus = bool(tf.config.list_physical_devices("GPU"))
    # A model here would take the memory of the GPUs from the child that measures.
    if on_gpus and batch_size:
        return None
    # What cannot be built for these classes must not fail after the search.
    trainer = build_trainer(recipe, info, seed=0)[0]
    held = recipe.sections[SECTION]["batch_size"]
    if held.source == "user" or not batch_size:
        batch_size = held.value
    if on_gpus:
        return None
    check_memory(recipe, info, trainer.model, batch_size, available_memory_bytes() / MIB)
    return trainer, batch_size


def _reason_to_skip(
    recipe: Recipe, config: ProbeConfig, plain_images: int, lengths: Lengths | None
) -> str:
    if not config.learn:
        return "`learn_batch_size` is false"
    if recipe.value("model", "trainable") == "head":
        return "the network is frozen, and its head is fitted in closed form"
    if starts_pretrained(recipe):
        return "rate and batch size of a pretrained network are not learned"
    batch_size, rate = (recipe.sections[SECTION][each].source for each in _MEASURED)
    if batch_size == rate == "user":
        return "`batch_size` and `learning_rate` are set by the user"
    # A learned rate that is still there was learned at this batch size.
    if rate == "learned" and batch_size in ("learned", "user"):
        return "the recipe that the run starts from holds a measured batch size and learning rate"
    if lengths is None:
        return (
            f"a plain training sees only {plain_images:,} images: {LEARNING_SHARE:.0%} of "
            "them are too few steps to tell learning rates apart, so the defaults stay"
        )
    return ""
