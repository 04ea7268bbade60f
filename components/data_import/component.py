"""The KFP ops of data_import: parameters -> config, artifacts -> paths."""

from typing import Any, NamedTuple

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def list_sources(
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
) -> NamedTuple(  # type: ignore[valid-type]
    "Versions",
    [
        ("dataset_version", str),
        ("unlabeled_version", str),
        ("recipe_version", str),
        ("architecture_version", str),
        ("champion_version", str),
        ("split_version", str),
    ],
):
    """Returns a version of what lies behind each URI; never cached, so that a change is seen.

    A task, or a positive class, that the dataset cannot be for ends the run here.
    """
    from pathlib import Path

    from kfp_vision.components.data_import.source_version import write_sources

    uris = (dataset_uri, dataset_format, unlabeled_uri, follow_links, recipe_uri, architecture)
    return write_sources(Path(sources.path), *uris, champion_uri, seed, task, positive_class)


@component
def import_dataset(
    dataset_info: dsl.Output[dsl.Artifact],
    train: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    unlabeled: dsl.Output[dsl.Dataset],
    dataset_uri: str,
    dataset_format: str = "auto",
    task: str = "auto",
    unlabeled_uri: str = "",
    seed: int = 0,
    follow_links: bool = False,
    dataset_version: str = "",
    unlabeled_version: str = "",
    checkpoint_uri: str = "",
    champion_uri: str = "",
    split_version: str = "",
    positive_class: str = "",
) -> None:
    """Imports images and labels from a folder, bucket, archive or TFDS into the canonical store.

    Args:
        dataset_info: `DatasetInfo` and what else is small, see `shared/artifacts/`.
        train: Its images; a task downloads the splits that it reads.
        validation: The same.
        test: The same.
        unlabeled: The same; empty where there are none.
        dataset_uri: A local path, gs:// or s3:// URI, or `tfds:NAME`.
        dataset_format: A key of `readers.FORMATS`, `tfds`, or `auto`.
        task: A key of `shared.tasks.TASKS`, or `auto`.
        unlabeled_uri: A folder of images without labels; empty for none.
        seed: Of the splits that are made.
        follow_links: Whether local links may lead out of the source, and to folders.
        dataset_version: Of `list_sources`; not read, KFP's cache key: changed data are imported.
        unlabeled_version: The same.
        checkpoint_uri: Of later stages; the first one finds out whether it can be reached.
        champion_uri: A folder of champions; empty for none.
        split_version: Of `list_sources`; the images of this version keep their split.
        positive_class: Is checked before an image is read, where no `list_sources` has done it.
    """
    from pathlib import Path

    from kfp_vision.components.data_import import importer
    from kfp_vision.components.shared.artifacts.artifact_parts import move_files
    from kfp_vision.components.shared.champions.store import fetch_known_images
    from kfp_vision.components.shared.report.records import hand_on
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    with checkpoint_folder(checkpoint_uri):
        pass
    wishes = (dataset_format, task, unlabeled_uri, seed, follow_links, positive_class)
    config = importer.ImportConfig(*wishes)
    known = fetch_known_images(champion_uri, split_version) if split_version else None
    folder = Path(dataset_info.path)
    info = importer.import_dataset(dataset_uri, folder, config, known)
    splits = {"train": train, "validation": validation, "test": test, "unlabeled": unlabeled}
    for name, split in splits.items():
        move_files(folder, split, f"{name}.arrow")
    hand_on(dataset_info, "dataset_info")
    dataset_info.metadata.update(fingerprint=info.fingerprint, task=info.task, **info.splits)


def check_source(uri: str, follow_links: bool) -> None:
    """Refuses a local source that is not there: the launcher asks before the first task."""
    from kfp_vision.components.data_import.sources import check_source

    check_source(uri, follow_links)


def chosen_files() -> Any:
    """Returns the module of that name: reading some files loads what the import does."""
    from kfp_vision.components.data_import import chosen_files

    return chosen_files
