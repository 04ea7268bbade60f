"""The KFP components of the profiling stage."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def profile_dataset(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    profile: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    recipe_uri: str,
    architecture: str,
    epochs: int,
    positive_class: str,
    preset: str,
    max_minutes: float,
    cost_multiple: float,
    use_validation_for_training: bool,
    pretrain: str,
    self_train: str,
    distill: str,
    teachers: int,
    deploy: str,
    recipe_version: str = "",
) -> None:
    """Measures balance, entropy, duplicates and leakage, and starts the recipe.

    `recipe_version` is not read: it is KFP's cache key, so that a changed recipe counts.
    """
    import shutil
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.recipe.budget import with_budget
    from kfp_vision.components.shared.recipe.document import Recipe, fetch_recipe
    from kfp_vision.components.shared.report.records import costs_before, hand_on
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.runtime.progress import Progress

    with Progress("load the libraries"):
        from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images

    spent = costs_before(dataset_info)
    recipe = fetch_recipe(recipe_uri) if recipe_uri else Recipe()
    recipe = with_budget(recipe, preset, max_minutes, cost_multiple)
    output_dir = Path(profile.path)
    config = ProfileConfig(
        architecture=architecture,
        epochs=epochs,
        positive_class=positive_class,
        use_validation_for_training=use_validation_for_training,
        pretrain=pretrain,
        self_train=self_train,
        distill=distill,
        teachers=teachers,
        deploy=deploy,
    )
    with join_parts(dataset_info, train, validation, test, unlabeled) as dataset_dir:
        result = profile_images(dataset_dir, recipe, output_dir, config, spent)
    hand_on(profile, "profile", dataset_info)
    shutil.copyfile(output_dir / "profile.html", page.path)
    names = ("label_entropy_bits", "imbalance_ratio", "compressed_bits_per_pixel")
    figures = {name: result.figures[name] for name in names if name in result.figures}
    log_metrics(metrics, {"findings": len(result.findings), **figures})


@component
def check_profile(profile: dsl.Input[dsl.Artifact], accept_findings: str) -> None:
    """Stops the pipeline when a finding of level `fail` is not accepted."""
    from pathlib import Path

    from kfp_vision.components.data_profiling.findings import split_codes
    from kfp_vision.components.data_profiling.gate import check_findings

    check_findings(Path(profile.path), split_codes(accept_findings))


def check_codes(accept_findings: str) -> None:
    """Refuses what is no code of a finding: the launcher asks before the first task."""
    from kfp_vision.components.data_profiling.findings import split_codes

    split_codes(accept_findings)
