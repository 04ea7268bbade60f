"""The whole pipeline: from a folder of images to an evaluated, exported, reported model."""

from kfp import dsl

from kfp_vision.components.batch_size_probe.component import probe_batch_size
from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.data_profiling.component import check_profile, profile_dataset
from kfp_vision.components.evaluation.component import build_report, evaluate_model, export_model
from kfp_vision.components.training.component import train_model
from kfp_vision.pipelines.publishing.component import check_model, publish
from kfp_vision.pipelines.searching import search_policy

__all__ = ["training_pipeline"]


@dsl.pipeline(name="kfp-vision-training", description="Trains, evaluates and exports a classifier.")
def training_pipeline(
    dataset_uri: str,
    output_uri: str,
    dataset_format: str = "auto",
    unlabeled_uri: str = "",
    follow_links: bool = False,
    task: str = "auto",
    architecture: str = "auto",
    image_size: int = 0,
    batch_size: int = 0,
    learning_rate: float = 0.0,
    epochs: int = 0,
    optimizer: str = "",
    max_minutes: float = 0.0,
    learn_batch_size: bool = True,
    search_augmentation: bool = True,
    trial_workers: int = 1,
    recipe_uri: str = "",
    accept_findings: str = "",
    seed: int = 0,
    dataset_version: str = "",
    unlabeled_version: str = "",
    recipe_version: str = "",
    architecture_version: str = "",
    checkpoint_uri: str = "",
) -> None:
    """Defines the DAG; `parameters.py` says what the arguments mean, except for five.

    The launcher computes them: a version for each URI, which changes when the files behind it do,
    so that the stage that reads them is not taken from the cache; and `checkpoint_uri`, a folder
    that outlives the run.
    """
    dataset = import_dataset(
        dataset_uri=dataset_uri,
        dataset_format=dataset_format,
        task=task,
        unlabeled_uri=unlabeled_uri,
        follow_links=follow_links,
        seed=seed,
        dataset_version=dataset_version,
        unlabeled_version=unlabeled_version,
    ).outputs["dataset"]
    profile = profile_dataset(
        dataset=dataset, recipe_uri=recipe_uri, recipe_version=recipe_version
    ).outputs["profile"]
    gate = check_profile(profile=profile, accept_findings=accept_findings)
    probe = (
        probe_batch_size(
            dataset=dataset,
            recipe=profile,
            learn=learn_batch_size,
            architecture=architecture,
            image_size=image_size,
            batch_size=batch_size,
            learning_rate=learning_rate,
            epochs=epochs,
            optimizer=optimizer,
            seed=seed,
            architecture_version=architecture_version,
        )
        .after(gate)
        .outputs["probe"]
    )
    augmentation, search = search_policy(
        dataset=dataset,
        recipe=probe,
        search=search_augmentation,
        workers=trial_workers,
        seed=seed,
        checkpoint_uri=checkpoint_uri,
    )
    model = train_model(
        dataset=dataset,
        recipe=search,
        max_minutes=max_minutes,
        seed=seed,
        checkpoint_uri=checkpoint_uri,
    ).outputs["model"]
    evaluation = evaluate_model(dataset=dataset, model=model).outputs["evaluation"]
    exports = export_model(dataset=dataset, evaluation=evaluation).outputs["exports"]
    report = build_report(
        dataset=dataset,
        profile=profile,
        probe=probe,
        augmentation=augmentation,
        search=search,
        model=model,
        evaluation=evaluation,
        exports=exports,
    ).outputs["report"]
    published = publish(
        dataset=dataset,
        profile=profile,
        probe=probe,
        augmentation=augmentation,
        search=search,
        model=model,
        evaluation=evaluation,
        exports=exports,
        report=report,
        output_uri=output_uri,
    ).set_caching_options(enable_caching=False)
    check_model(report=report).after(published)
