"""What lies behind the URIs of a run: versions that change when the files do.

They are inputs of the tasks that read the files: KFP's cache, which does not see files, takes no
result of other ones.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kfp_vision.components.data_import.choices import check_choices
from kfp_vision.components.data_import.readers import TFDS_PREFIX, read_unlabeled
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample
from kfp_vision.components.data_import.sources import list_labelled, open_unlabeled
from kfp_vision.components.shared.artifacts.source_files import (
    SourceFiles,
    file_hash,
    source_files,
    write_source_files,
)
from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    read_champions,
    split_version,
)
from kfp_vision.components.shared.recipe.document import fetch_recipe, named_architecture
from kfp_vision.components.shared.runtime.identity import (
    architecture_digest,
    content_digest,
    digest_of_versions,
    file_versions,
)
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import Folder, open_folder, record_reads

__all__ = [
    "Versions",
    "dataset_version",
    "list_source_files",
    "unlabeled_version",
    "write_sources",
]


class Versions(NamedTuple):
    """A version for each URI: only the stages that read it, and those after, run again.

    Attributes:
        dataset_version: Of the files of `dataset_uri`.
        unlabeled_version: Of those of `unlabeled_uri`; empty without one.
        recipe_version: Digest of the file of `recipe_uri`; empty without one.
        architecture_version: Digest of the model file of the user; else a name of the zoo.
        champion_version: Name of the champion; empty without one.
        split_version: Name of the version whose images keep their split; empty without one.
    """

    dataset_version: str
    unlabeled_version: str
    recipe_version: str
    architecture_version: str
    champion_version: str
    split_version: str


@Progress("list the sources")
def list_source_files(
    dataset_uri: str,
    dataset_format: str,
    unlabeled_uri: str,
    follow_links: bool,
    recipe_uri: str,
    architecture: str,
    champion_uri: str,
    seed: int,
    task: str = "auto",
    positive_class: str = "",
) -> SourceFiles:
    """Returns the versions of all that a run reads, and of each file; decodes no image.

    What the user has chosen and the dataset cannot be for is refused here, before it is imported.

    Args:
        dataset_uri: As of `dataset_version`.
        dataset_format: As of `dataset_version`.
        unlabeled_uri: A folder of images without labels; empty for none.
        follow_links: As of `dataset_version`.
        recipe_uri: A recipe, which may name the model file; empty for none.
        architecture: A name of the zoo, `auto`, or the URI of a model file.
        champion_uri: A folder of champions; empty for none.
        seed: Of the splits that are made.
        task: A key of `shared.tasks.TASKS`, or `auto`.
        positive_class: The user's; empty for that of the recipe, or the rarer class.

    Raises:
        ValueError: The source cannot be imported, or is not for the task, the positive class or the
            metric of the recipe; or the recipe is none.
        StorageError: A URI leads nowhere or cannot be reached.
    """
    recipe = fetch_recipe(recipe_uri) if recipe_uri else None
    folder = open_unlabeled(unlabeled_uri, follow_links) if unlabeled_uri else None
    dataset = _dataset_files(
        dataset_uri,
        dataset_format,
        folder,
        follow_links,
        lambda listing: check_choices(listing, task, positive_class, recipe),
    )
    unlabeled = _unlabeled_files(folder) if folder else None
    champion = read_champions(champion_uri).champion if champion_uri else ""
    imported = ImportFacts(dataset_uri, _version(dataset), seed)
    versions = Versions(
        _version(dataset),
        _version(unlabeled),
        content_digest(recipe_uri) if recipe_uri else "",
        architecture_digest(named_architecture(architecture, recipe_uri)),
        champion,
        split_version(champion_uri, champion, imported) if champion else "",
    )
    # The two folders are told apart: both may hold the same names.
    hashes = (
        file_hash(f"{part}/{path}", version)
        for part, files in (("dataset", dataset), ("unlabeled", unlabeled))
        for path, version in (files or {}).items()
    )
    # Versions are of names below the URI: those of another dataset may be the same.
    return source_files({"dataset_uri": dataset_uri.rstrip("/"), **versions._asdict()}, hashes)


def write_sources(folder: Path, *uris: Any) -> Versions:
    """Writes what `list_source_files` finds into a folder; returns the versions."""
    found = list_source_files(*uris)
    write_source_files(found, folder)
    return Versions(*(found.versions[name] for name in Versions._fields))


def dataset_version(uri: str, dataset_format: str, follow_links: bool) -> str:
    """Returns a digest of names, sizes and times of the files of a dataset; decodes no image.

    The reader of the import lists the source: the files are those that it opens (tables, arrays,
    `classes.txt`) and the images that it names, whatever else lies beside them. A set of TFDS has
    its version in its name.

    Args:
        uri: A folder, a file, or `tfds:NAME`.
        dataset_format: A key of `readers.FORMATS`, `tfds`, or `auto`.
        follow_links: Whether local links may lead out of the source, and to folders.

    Raises:
        ValueError: The source cannot be imported; the import says why.
        StorageError: It does not exist or cannot be reached.
    """
    return _version(_dataset_files(uri, dataset_format, None, follow_links, lambda _: None))


def unlabeled_version(uri: str, follow_links: bool) -> str:
    """Returns the same of a folder of images without labels.

    Raises:
        StorageError: It does not exist or cannot be reached.
    """
    return _version(_unlabeled_files(open_unlabeled(uri, follow_links)))


def _version(files: Mapping[str, str] | None) -> str:
    """Returns the version of files; empty where there is nothing to list."""
    return "" if files is None else digest_of_versions(files)


def _dataset_files(
    uri: str,
    dataset_format: str,
    unlabeled: Folder | None,
    follow_links: bool,
    check: Callable[[Listing], None],
) -> dict[str, str] | None:
    """Returns path -> version of the files of a dataset; None for a set of TFDS.

    `check` is given the listing and may refuse it.
    """
    if dataset_format == "tfds" or uri.startswith(TFDS_PREFIX):
        return None
    with record_reads() as opened:
        listing, *_ = list_labelled(uri, dataset_format, unlabeled, follow_links)
        check(listing)
        named = _named_files(listing.samples)
    return file_versions(open_folder(uri)[0], opened | named)


def _unlabeled_files(folder: Folder) -> dict[str, str]:
    return file_versions(folder, _named_files(read_unlabeled(folder).samples))


def _named_files(samples: Iterable[Sample | Rejection]) -> set[str]:
    paths = set()
    for sample in samples:
        if isinstance(sample, Sample) and not isinstance(sample.content, Folder):
            # The rows are in files that were opened, which counts; reading on would decode all.
            break
        # The desktop's notes on a folder change when somebody looks at it.
        if not (isinstance(sample, Rejection) and sample.code == "hidden"):
            paths.add(sample.path)
    return paths
