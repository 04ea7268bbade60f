"""What lies behind the URIs of a run: versions that change when the files do.

They are inputs of the tasks that read the files: KFP's cache, which does not see files, takes no
result of other ones.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kfp_vision.components.data_import.readers import TFDS_PREFIX, read_unlabeled
from kfp_vision.components.data_import.samples import Rejection, Sample
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.shared.recipe.document import named_architecture
from kfp_vision.components.shared.runtime.identity import (
    architecture_digest,
    content_digest,
    listing_digest,
)
from kfp_vision.components.shared.runtime.storage import Folder, open_folder, record_reads

__all__ = ["Versions", "dataset_version", "source_versions", "unlabeled_version"]


class Versions(NamedTuple):
    """A version for each URI: only the stages that read it, and those after, run again.

    Attributes:
        dataset_version: Of the files of `dataset_uri`.
        unlabeled_version: Of those of `unlabeled_uri`; empty without one.
        recipe_version: Digest of the file of `recipe_uri`; empty without one.
        architecture_version: Digest of the model file of the user; else a name of the zoo.
    """

    dataset_version: str
    unlabeled_version: str
    recipe_version: str
    architecture_version: str


def source_versions(
    dataset_uri: str,
    dataset_format: str,
    unlabeled_uri: str,
    follow_links: bool,
    recipe_uri: str,
    architecture: str,
) -> Versions:
    """Returns the versions of all that a run reads; decodes no image.

    Args:
        dataset_uri: As of `dataset_version`.
        dataset_format: As of `dataset_version`.
        unlabeled_uri: A folder of images without labels; empty for none.
        follow_links: As of `dataset_version`.
        recipe_uri: A recipe, which may name the model file; empty for none.
        architecture: A name of the zoo, `auto`, or the URI of a model file.

    Raises:
        ValueError: The source cannot be imported, or the recipe is none.
        StorageError: A URI leads nowhere or cannot be reached.
    """
    return Versions(
        dataset_version(dataset_uri, dataset_format, follow_links),
        unlabeled_version(unlabeled_uri, follow_links) if unlabeled_uri else "",
        content_digest(recipe_uri) if recipe_uri else "",
        architecture_digest(named_architecture(architecture, recipe_uri)),
    )


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
    if dataset_format == "tfds" or uri.startswith(TFDS_PREFIX):
        return ""
    with record_reads() as opened:
        listing, *_ = list_source(uri, dataset_format, "", follow_links)
        named = _named_files(listing.samples)
    return listing_digest(open_folder(uri)[0], opened | named)


def unlabeled_version(uri: str, follow_links: bool) -> str:
    """Returns the same of a folder of images without labels.

    Raises:
        StorageError: It does not exist or cannot be reached.
    """
    folder, _ = open_folder(uri, follow_links)
    return listing_digest(folder, _named_files(read_unlabeled(folder).samples))


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
