"""The profiling stage: what is in a dataset, what is wrong with it, what is done about it."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from kfp_vision.components.data_profiling.data_settings import with_data_settings
from kfp_vision.components.data_profiling.duplicates import exact_groups, label_keys
from kfp_vision.components.data_profiling.findings import find
from kfp_vision.components.data_profiling.images import Images, read_images
from kfp_vision.components.data_profiling.mask_figures import describe_masks
from kfp_vision.components.data_profiling.measurements import Measurements
from kfp_vision.components.data_profiling.object_figures import (
    count_objects,
    describe_objects,
)
from kfp_vision.components.data_profiling.objects import Objects, read_objects
from kfp_vision.components.data_profiling.run_plan import first_plan
from kfp_vision.components.data_profiling.stage_report import profile_report, write_page
from kfp_vision.components.data_profiling.statistics import (
    count_figures,
    pixel_figures,
    size_histograms,
)
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.data_profile import Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.recipe.document import Recipe, write_recipe
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.tasks.objects import MASK

__all__ = ["ProfileConfig", "profile_images"]

_STAGE = "profile_dataset"


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """How a dataset is profiled.

    Attributes:
        sample_images, sample_pixels: The pixels of at most so many images, and of at most so many
            pixels in all, are looked at.
        thumbnails: Images shown of each class, and of how many classes.
        beta: Of the effective number of samples; 0.9999 was best on long-tailed CIFAR-10 (Cui et
            al., 2019, section 5).
        architecture: The user's; the plan counts a comparison of networks, or a teacher.
        epochs: The user's, for the plan; 0 for none.
        positive_class: The user's; empty for the recipe's, or the rarer class.
        use_validation_for_training: Whether the final model trains on the validation images, too.
        pretrain: Whether images are learned before their labels.
        self_train: Whether images without labels are learned.
        distill: Whether the network is taught by a better one.
        teachers: Networks that are trained beside it; 0 as `shared.recipe.teachers` decides.
        deploy: `ensemble` where these are to be deployed with it, else `model`.
        seed: Of the samples.
    """

    sample_images: int = 1000
    sample_pixels: int = 200_000_000
    thumbnails: tuple[int, int] = (6, 50)
    beta: float = 0.9999
    architecture: str = "auto"
    epochs: int = 0
    positive_class: str = ""
    use_validation_for_training: bool = False
    pretrain: str = "auto"
    self_train: str = "auto"
    distill: str = "auto"
    teachers: int = 0
    deploy: str = "model"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses samples without an image and a beta that has no effective number."""
        if self.sample_images < 1 or self.sample_pixels < 1 or min(self.thumbnails) < 0:
            raise ValueError(f"Samples must hold at least one image. Received: {self}")
        if not 0.0 <= self.beta < 1.0:
            raise ValueError(f"`beta` must be at least 0 and below 1. Received: {self.beta}")


@explains_full_disk("output_dir")
@Progress("profile")
def profile_images(
    dataset_dir: Path,
    recipe: Recipe,
    output_dir: Path,
    config: ProfileConfig,
    spent: Sequence[StageCost] = (),
) -> Profile:
    """Profiles a dataset.

    Writes `profile.json`, `profile.html`, `recipe.json` (with the section `data`),
    `stage_report.json` and `cost.json`. With a budget, shows the first plan of the run.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: What a user or an earlier run has set.
        output_dir: Is created.
        config: How.
        spent: Of the budget, by the stages before and by the start of this task.

    Raises:
        ValueError: The dataset has no training image, or what the user has set does not fit it.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    if not info.splits.get("train"):
        raise ValueError(f"The split `train` must hold images. Received: {info.splits}")
    images = read_images(dataset_dir, info)
    counts = _count_labels(images, info)
    recipe = with_data_settings(
        recipe,
        info.task,
        info.classes,
        counts["train"],
        config.beta,
        config.positive_class,
        config.use_validation_for_training,
        config.pretrain,
        config.self_train,
        config.distill,
        config.teachers,
        config.deploy,
    )
    primary = recipe.value("data", "primary_metric")
    objects = read_objects(images)
    measured = _measure(images, info, counts, primary, dataset_dir, objects)
    figures, sentences = count_figures(images, measured, config.beta, config.seed)
    histograms = size_histograms(images)
    if objects is not None:
        object_figures, object_histograms, said = describe_objects(images, objects, info)
        figures, histograms = {**figures, **object_figures}, {**histograms, **object_histograms}
        sentences += said
    rows = _sample(images, config)
    if MASK.name in TASKS[info.task].columns:
        mask_figures, mask_histograms = describe_masks(images, rows, info.classes)
        figures, histograms = {**figures, **mask_figures}, {**histograms, **mask_histograms}
    with Progress("look at pixels", len(rows), "images") as progress:
        pixels = pixel_figures(images, rows, progress)
    profile = Profile(
        findings=find(measured, images, info.classes),
        class_counts={
            split: dict(zip(info.classes, counts.tolist(), strict=True))
            for split, counts in measured.counts.items()
        },
        figures={**figures, **pixels[0], "reading": " ".join(sentences + pixels[2])},
        histograms={**histograms, **pixels[1]},
        thumbnails=_thumbnails(images, info.classes, config),
        object_counts=count_objects(objects, info) if objects is not None else {},
    )
    write_json(profile, output_dir / "profile.json")
    write_recipe(recipe, output_dir / "recipe.json")
    now = StageCost(_STAGE, time.monotonic() - started, len(rows))
    plan = first_plan(recipe, info, [*spent, now], config.architecture, config.epochs)
    if plan:
        show_note(plan.sentence())
    report = profile_report(info, profile, plan)
    write_stage_report(report, output_dir)
    write_page(info, report, recipe, output_dir / "profile.html")
    write_json(StageCost(_STAGE, time.monotonic() - started, len(rows)), output_dir / COST_FILE)
    return profile


def _count_labels(images: Images, info: DatasetInfo) -> dict[str, np.ndarray]:
    """Returns labelled split -> number of images of each class."""
    owner = np.repeat(np.arange(len(images)), np.diff(images.label_starts))
    splits = images.split[owner]
    return {
        split: np.bincount(images.label_values[splits == split], minlength=len(info.classes))
        for split in info.splits
        if split != "unlabeled"
    }


def _measure(
    images: Images,
    info: DatasetInfo,
    counts: Mapping[str, np.ndarray],
    primary: str,
    dataset_dir: Path,
    objects: Objects | None,
) -> Measurements:
    table = dataset_dir / "rejected.parquet"
    rejected = pq.read_table(table).slice(0, 3).to_pylist() if table.exists() else []
    return Measurements(
        classes=info.classes,
        counts=counts,
        origin=info.split_origin,
        one_class=TASKS[info.task].one_class,
        is_spatial=TASKS[info.task].is_spatial,
        primary=primary,
        split=images.split,
        exact=exact_groups(images.digests),
        near=np.load(dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False),
        keys=label_keys(images.label_values, images.label_starts),
        signatures=images.signatures,
        rejected=info.rejected,
        rejected_paths=[_shown_path(**row) for row in rejected],
        unlabeled_uri=info.unlabeled_uri,
        objects=objects,
        objects_clipped=info.objects_clipped,
        objects_left_out=info.objects_left_out,
    )


def _shown_path(path: str, source: str, **_: str) -> str:
    return path if source == "dataset_uri" else f"{path} of `{source}`"


def _sample(images: Images, config: ProfileConfig) -> np.ndarray:
    """Returns training rows, drawn without replacement, in the order of the file."""
    train = images.rows("train")
    pixels = images.heights[train].astype(np.int64) * images.widths[train]
    affordable = int(config.sample_pixels / pixels.mean())
    size = min(len(train), config.sample_images, max(affordable, 1))
    return np.sort(np.random.default_rng(config.seed).choice(train, size, replace=False))


def _thumbnails(
    images: Images, classes: Sequence[str], config: ProfileConfig
) -> dict[str, list[str]]:
    number, most_classes = config.thumbnails
    random = np.random.default_rng(config.seed)
    shown = {}
    for label, name in enumerate(classes[:most_classes]):
        rows = images.rows("train", label)
        chosen = random.choice(rows, min(number, len(rows)), replace=False)
        shown[name] = [images.picture(row) for row in chosen]
    return shown
