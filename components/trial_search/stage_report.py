"""What the search tells the report: the section on transforms, trials and the policy."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, SearchResult
from kfp_vision.components.shared.datasets.thumbnails import thumbnail
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.policies import policy_setting
from kfp_vision.components.shared.report.policy_words import policy_words
from kfp_vision.components.shared.report.records import ReportWarning, Section, StageReport
from kfp_vision.components.trial_search.report_transforms import (
    baseline_images,
    customary_policy,
    transform_rows,
)
from kfp_vision.components.trial_search.report_trials import (
    candidate_words,
    confirmed_arm,
    gain_bars,
    trial_chart,
)

__all__ = ["read_examples", "search_report"]


def read_examples(table_dir: Path) -> dict[str, np.ndarray]:
    """Returns `examples.npz` of the `augmentation` artifact; nothing where it was skipped."""
    path = table_dir / "examples.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def search_report(
    search: SearchResult,
    table: AugmentationTable,
    examples: Mapping[str, np.ndarray],
    before: Recipe,
    after: Recipe,
    primary: str,
    images_seen: int,
) -> StageReport:
    """Returns `search` of `report.json`, the notes as warnings, and the section on the search.

    Args:
        search: The trials and what they decided.
        table: What the transforms do.
        examples: Examples of the `augmentation` artifact; empty when nothing was measured.
        before: The recipe that the search started from.
        after: The recipe that it wrote.
        primary: Name of the primary metric.
        images_seen: Images that measurements and trials saw.
    """
    setting = policy_setting(after)
    data = {
        "search": search,
        "plan": table.plan,
        "trials": [
            {
                **dataclasses.asdict(trial),
                "loss": trial.loss,
                "words": candidate_words(trial.candidate, search.techniques),
            }
            for trial in search.trials
        ],
        "images_seen": images_seen,
        "baseline_images": baseline_images(before),
        "customary": customary_policy(after),
        "policy": policy_words(setting.value if setting else None),
        "gains": gain_bars(search, table.regularisers),
        "chart": trial_chart(search),
        "rounds": ROUNDS,
        "transforms": transform_rows(table, examples, after),
        "original": thumbnail(examples["original"]) if examples else "",
        "null_distance": table.null_distance,
        "primary": primary,
    }
    return StageReport(
        summary={"search": dataclasses.asdict(search)},
        warnings=[ReportWarning("search", note) for note in search.notes],
        sections=[Section("search", "Augmentation", "trial_search/stage_report.html", data)],
        arms=confirmed_arm(search),
    )
