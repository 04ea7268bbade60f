"""Images that lie in the folder and that no row of the manifest names."""

import collections
from collections.abc import Collection, Sequence

from kfp_vision.components.data_import.split_names import name_splits
from kfp_vision.components.shared.datasets.image_files import escape_name

__all__ = ["check_unlisted"]


def check_unlisted(
    images: Sequence[str],
    named: Collection[str],
    num_embedded: int,
    tables: Sequence[str],
    *,
    is_chosen: bool,
) -> list[str]:
    """Returns notes on the images that the tables do not name.

    Folders called after a split but train, in which no image is named, hold unlabelled images.

    Args:
        images: All images of the folder.
        named: The paths that the tables name.
        num_embedded: Images that are in the tables themselves.
        tables: Their names.
        is_chosen: Whether the user has chosen the table: then it is meant to leave images out.

    Raises:
        ValueError: Most images are not named, by tables that nobody has chosen.
    """
    unlisted = [path for path in images if path not in named]
    if not unlisted:
        return []
    used = {path.partition("/")[0] for path in named if "/" in path}
    splits = name_splits({path.partition("/")[0] for path in images if "/" in path})
    set_aside = {top for top, split in splits.items() if split != "train"} - used
    left_out = [path for path in unlisted if path.partition("/")[0] not in set_aside]
    folders = collections.Counter(path.rpartition("/")[0] or "." for path in unlisted)
    where = ", ".join(f"{count} in {folder}/" for folder, count in folders.most_common(5))
    stated = (
        f"{len(unlisted)} images are not in the manifest ({', '.join(tables[:5])}) and not used: "
        f"{where}; for instance {unlisted[0]}."
    )
    stated = escape_name(stated)
    num_listed = num_embedded + len(images) - len(unlisted)
    if len(left_out) > num_listed and not is_chosen:
        raise ValueError(
            f"A manifest must name most images beside it. Received: {len(images)} images, and "
            f"{stated} Give the URI of the table to use only its images, "
            "`dataset_format` class_folders to use the folders as classes, or complete the table."
        )
    return [stated]
