"""What the report is made of: one record of everything that the stages wrote to disk."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.data_profile import Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation, Export
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.probe_result import ProbeSummary
from kfp_vision.components.shared.artifacts.search_result import TrialSummary
from kfp_vision.components.shared.artifacts.training_result import TrainingSummary
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe

__all__ = ["Run", "read_run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """The artifacts of a finished run.

    Attributes:
        version: Of kfp-vision.
        decided: The recipe as the probe left it; training may have repaired it since.
        examples: Transform -> a training image at its levels, uint8 [L, H, W, C], and `original`
            [H, W, C]; empty when nothing was measured.
        curves: Training curves: columns `step`, `split`, `metric`, `value`.
        costs: Artifact name -> cost of the stage that wrote it, in the order of the DAG.
    """

    version: str
    dataset: DatasetInfo
    profile: Profile
    probe: ProbeSummary
    decided: Recipe
    augmentation: AugmentationTable
    examples: Mapping[str, np.ndarray]
    search: TrialSummary
    training: TrainingSummary
    curves: pa.Table
    recipe: Recipe
    evaluation: Evaluation
    exports: Sequence[Export]
    costs: Mapping[str, StageCost]


def read_run(
    dataset_dir: Path,
    profile_dir: Path,
    probe_dir: Path,
    augmentation_dir: Path,
    search_dir: Path,
    model_dir: Path,
    evaluation_dir: Path,
    exports_dir: Path,
) -> Run:
    """Reads the artifacts of a run.

    Raises:
        FileNotFoundError: A stage has not written a file that the report needs.
    """
    folders = {
        "dataset": dataset_dir,
        "profile": profile_dir,
        "probe": probe_dir,
        "augmentation": augmentation_dir,
        "search": search_dir,
        "model": model_dir,
        "evaluation": evaluation_dir,
        "exports": exports_dir,
    }
    examples: dict[str, np.ndarray] = {}
    augmentation = read_json(AugmentationTable, augmentation_dir / "table.json")
    if not augmentation.skipped:
        with np.load(augmentation_dir / "examples.npz") as file:
            examples = dict(file)
    exports = json.loads((exports_dir / "exports.json").read_text(encoding="utf-8"))
    return Run(
        version=importlib.metadata.version("kfp-vision"),
        dataset=read_json(DatasetInfo, dataset_dir / "dataset.json"),
        profile=read_json(Profile, profile_dir / "profile.json"),
        probe=read_json(ProbeSummary, probe_dir / "probe.json"),
        decided=read_recipe(probe_dir / "recipe.json"),
        augmentation=augmentation,
        examples=examples,
        search=read_json(TrialSummary, search_dir / "search.json"),
        training=read_json(TrainingSummary, model_dir / "training.json"),
        curves=pq.read_table(model_dir / "curves.parquet"),
        recipe=read_recipe(model_dir / "recipe.json"),
        evaluation=read_json(Evaluation, evaluation_dir / "evaluation.json"),
        exports=[Export(**entry) for entry in exports["exports"]],
        costs={name: read_json(StageCost, folder / COST_FILE) for name, folder in folders.items()},
    )
