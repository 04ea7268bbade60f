"""The KFP components of the search by trials: a round is proposed, run and proposed again."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def propose_trials(
    dataset: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    results: list[str],
    round_name: str,
    workers: int,
    seed: int,
) -> list[str]:
    """Reads the trials so far and returns the next ones, a slice for each worker."""
    from pathlib import Path

    from kfp_vision.components.trial_search.proposing import propose_trials

    return propose_trials(
        round_name,
        Path(dataset.path),
        Path(recipe.path) / "recipe.json",
        Path(augmentation.path),
        results,
        workers,
        seed,
    )


@component
def run_trials(
    dataset: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    work: str,
    checkpoint_uri: str,
) -> str:
    """Runs a slice of trials in one process and returns all trials so far."""
    from pathlib import Path

    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.trial_search.working import run_trials

    folders = Path(dataset.path), Path(recipe.path) / "recipe.json", Path(augmentation.path)
    return run_trials(work, *folders, checkpoint_folder(checkpoint_uri))


@component
def select_policy(
    dataset: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    search: dsl.Output[dsl.Artifact],
    results: list[str],
    seed: int,
) -> None:
    """Accepts the best candidate or nothing, and writes it into the recipe."""
    from pathlib import Path

    from kfp_vision.components.shared.report.records import hand_on
    from kfp_vision.components.trial_search.selecting import select_policy

    summary = select_policy(
        Path(dataset.path),
        Path(recipe.path) / "recipe.json",
        Path(augmentation.path),
        results,
        Path(search.path),
        seed,
    )
    hand_on(search, "search", recipe, augmentation)
    search.metadata["decision"] = summary.decision or summary.skipped
