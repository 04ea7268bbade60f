"""The KFP component that searches the augmentation policy by trials."""

from kfp import dsl

from kfp_vision.components.shared.container_images import component


@component
def search_trials(
    dataset: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    search: dsl.Output[dsl.Artifact],
    seed: int,
    checkpoint_uri: str,
) -> None:
    """Decides the policy by a beam over short trials and writes it into the recipe."""
    import tempfile
    from pathlib import Path

    from kfp_vision.components.shared.training.setup import UserChoices
    from kfp_vision.components.trial_search.search import search_trials

    summary = search_trials(
        Path(dataset.path),
        Path(recipe.path) / "recipe.json",
        Path(augmentation.path),
        Path(search.path),
        Path(checkpoint_uri or tempfile.mkdtemp()),
        UserChoices(seed=seed),
    )
    search.metadata["decision"] = summary.decision or summary.skipped
