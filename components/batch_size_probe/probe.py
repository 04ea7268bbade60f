"""Finds batch size, learning rate and length by measurement, at a stated share of one training."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.batch_size_probe.batch_choice import choose_batch_size
from kfp_vision.components.batch_size_probe.learned_settings import (
    keep_shrinkage,
    learned_settings,
    note_on_length,
    usable_noise_scale,
)
from kfp_vision.components.batch_size_probe.learning_rate import smooth
from kfp_vision.components.batch_size_probe.limits import check_enlargement, check_memory
from kfp_vision.components.batch_size_probe.pilot import Lengths, plan_lengths, run_pilot
from kfp_vision.components.batch_size_probe.stage_report import probe_report
from kfp_vision.components.batch_size_probe.steps import steps_to_fit
from kfp_vision.components.batch_size_probe.throughput import (
    measure_in_child,
    measure_throughput,
)
from kfp_vision.components.batch_size_probe.timing import ThroughputRequest, time_steps
from kfp_vision.components.shared.architectures.names import is_pretrained
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.probe_result import ProbeResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe import budget
from kfp_vision.components.shared.recipe.context import explain_dropped, fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import (
    SECTION,
    learn,
    resolve,
    training_facts,
)
from kfp_vision.components.shared.recipe.stage_times import (
    EVALUATION_SHARE,
    affordable_images,
    plan_stages,
    start_up_seconds,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.runtime.progress import show_note
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    complete_recipe,
    example_targets,
    open_split,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["LEARNING_SHARE", "ProbeConfig", "probe_batch_size"]

# Of the images, and of the time, of one plain training; together below the promised 15 %.
LEARNING_SHARE = 0.06
_THROUGHPUT_SHARE = 0.03
_SHARE = LEARNING_SHARE + _THROUGHPUT_SHARE
_STAGE = "probe_batch_size"
_BATCH_SIZES = tuple(2**power for power in range(4, 13))
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
        recipe, info, batch_size=0 if skipped else min(_BATCH_SIZES[0], batch_size)
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
        affordable = min(affordable, affordable_images(plan, [_STAGE]) / _SHARE)
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
        result, recipe = _measure(
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
    if is_pretrained(recipe.value("model", "architecture")):
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


def _measure(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    images: LabelledImages,
    lengths: Lengths,
    batch_size: int,
    plain_images: int,
    affordable: float,
    seed: int,
) -> tuple[ProbeResult, Recipe]:
    """Returns the evidence, and the recipe with what was learned from it.

    `affordable` are the images of a plain training of which the usual share fits into the budget.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.json"
        write_recipe(recipe, path)
        sizes = sorted({batch_size, *(size for size in _BATCH_SIZES if size <= len(images) // 4)})
        request = ThroughputRequest(
            dataset_dir, path, sizes, batch_size, _THROUGHPUT_SHARE * affordable
        )
        # A trainer takes the memory of the GPUs: the child has to be over by then.
        on_gpus = bool(tf.config.list_physical_devices("GPU"))
        throughput = measure_in_child(request) if on_gpus else None
        # The average of the weights has no part in what is measured.
        trainer, task, settings = build_trainer(recipe, info, seed, ema_momentum=0.0)
        if throughput is None:
            throughput = measure_throughput(trainer, request)
    fitting = [row.batch_size for row in throughput.feasible()]
    if batch_size not in fitting:
        batch_size = max((size for size in fitting if size < batch_size), default=min(fitting))
        lengths = plan_lengths(round(affordable), batch_size, LEARNING_SHARE) or lengths
    pilot = run_pilot(trainer, images, settings.optimizer, batch_size, lengths, seed)
    targets = images.read_targets(np.arange(min(batch_size, len(images))))
    fitted = steps_to_fit(
        pilot.trials[min(pilot.choice.losses, key=lambda rate: pilot.choice.losses[rate])],
        task.initial_loss(targets, len(info.classes)),
    )
    notes = [f"Throughput: {throughput.ended}."] if throughput.ended else []
    noise = pilot.noise_scale
    if noise.value is None:
        notes.append(
            f"The gradient noise scale is not determined by {lengths.trial_steps // 2} steps; it "
            f"is at least {noise.low:.0f}, and that bound was used."
        )
    choice = choose_batch_size(throughput.feasible(), usable_noise_scale(pilot), batch_size)
    chosen = learned_settings(recipe, throughput, choice, pilot, fitted, batch_size, plain_images)
    facts = fixed_facts(recipe, info)
    learned = resolve(learn(recipe, SECTION, chosen, facts), {}, info.splits["train"], facts)
    decay = keep_shrinkage(recipe, learned, plain_images / batch_size)
    learned = learn(learned, SECTION, {"weight_decay": decay}, facts)
    notes += note_on_length(learned, chosen["epochs"], batch_size)
    nearest = min(throughput.by_batch, key=lambda row: abs(row.batch_size - batch_size))
    result = ProbeResult(
        notes=notes,
        reference_batch=batch_size,
        throughput=[
            dataclasses.replace(row, relative_time=choice.relative_times.get(row.batch_size))
            for row in throughput.by_batch
        ],
        variants=throughput.variants,
        noise_scale=dataclasses.replace(noise, raw=pilot.raw, scaled=pilot.scaled),
        range_test=dataclasses.replace(
            pilot.range_test,
            rates=[float(rate) for rate in pilot.rates],
            losses=[float(loss) if np.isfinite(loss) else None for loss in pilot.losses],
        ),
        trials={
            f"{rate:.4g}": [float(loss) for loss in smooth(losses) if np.isfinite(loss)]
            for rate, losses in sorted(pilot.trials.items())
        },
        images_seen=pilot.images_seen,
        plain_seconds=(1 + EVALUATION_SHARE) * plain_images / nearest.images_per_second,
    )
    return result, learned
