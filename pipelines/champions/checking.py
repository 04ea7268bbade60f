"""What is certain to fail later, before the first task of a run on this machine."""

from kfp_vision.components.shared.champions.store import check_writable
from kfp_vision.components.shared.runtime.storage import is_remote, local_path

__all__ = ["check_champions"]


def check_champions(champion_uri: str) -> None:
    """Refuses a folder of champions that cannot be used: a training would be in vain.

    A folder on this machine is made, where it is not there.

    Raises:
        ValueError: It is or lies in a file, or its `champion.json` is none.
        StorageError: It cannot be reached, or not be written on this machine.
    """
    if not is_remote(champion_uri):
        folder = local_path(champion_uri, "champion_uri")
        for path in (folder, *folder.parents):
            if path.is_file():
                raise ValueError(
                    f"`champion_uri` must be a folder. Received: {folder}; {path} is a file."
                )
    check_writable(champion_uri)
