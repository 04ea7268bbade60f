"""The KFP component that begins the pipeline of a schedule: is there anything to train?"""

from typing import NamedTuple

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component

__all__ = ["decide_retraining"]


@component
def decide_retraining(
    sources: dsl.Output[dsl.Artifact],
    dataset_uri: str,
    dataset_format: str,
    unlabeled_uri: str,
    follow_links: bool,
    recipe_uri: str,
    architecture: str,
    champion_uri: str,
    seed: int,
    task: str,
    positive_class: str,
    min_new_share: float,
    max_age_days: float,
    max_metric_drop: float,
    cron: str,
    time_zone: str,
    created_at: str,
) -> NamedTuple(  # type: ignore[valid-type]
    "Decision",
    [
        ("train", bool),
        ("reason", str),
        ("run_seed", int),
        ("dataset_version", str),
        ("unlabeled_version", str),
        ("recipe_version", str),
        ("architecture_version", str),
        ("champion_version", str),
        ("split_version", str),
    ],
):
    """Does what `list_sources` does, and says whether a run on these sources is due, and why."""
    from kfp_vision.pipelines.retraining.deciding import plan_run
    from kfp_vision.pipelines.retraining.triggers import LocalTime, Triggers

    plan = plan_run(
        sources,
        {
            "dataset_uri": dataset_uri,
            "dataset_format": dataset_format,
            "unlabeled_uri": unlabeled_uri,
            "follow_links": follow_links,
            "recipe_uri": recipe_uri,
            "architecture": architecture,
            "champion_uri": champion_uri,
            "seed": seed,
            "task": task,
            "positive_class": positive_class,
        },
        Triggers(min_new_share, max_age_days, max_metric_drop),
        LocalTime(cron, time_zone, created_at),
    )
    print(plan.reason)
    return (plan.train, plan.reason, plan.seed, *plan.versions)
