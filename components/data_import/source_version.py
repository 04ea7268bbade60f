"""When a source has to be imported again: a version of every file that the import would read."""

from collections.abc import Iterable

from kfp_vision.components.data_import.readers import TFDS_PREFIX, read_unlabeled
from kfp_vision.components.data_import.samples import Rejection, Sample
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.shared.runtime.identity import listing_digest
from kfp_vision.components.shared.runtime.storage import Folder, open_folder, record_reads

__all__ = ["dataset_version", "unlabeled_version"]


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
