"""Files and folders behind one URI: local paths and file://, gs://, s3:// and minio://.

A `Folder` reads below one root with relative paths; `download`, `upload` and `publish` move files.
Objects are read with obstore, whose requests need a tenth of the processor time of the vendors'
clients; all else is left to those. Every failure becomes a `StorageError` that says which URI and
what to check. Credentials are those that the vendors' libraries find: the environment, mounted
files, workload identity.
"""

from kfp_vision.components.shared.runtime.storage.documents import edit_document, read_document
from kfp_vision.components.shared.runtime.storage.errors import StorageError
from kfp_vision.components.shared.runtime.storage.folders import FileStart, Folder
from kfp_vision.components.shared.runtime.storage.manifests import MANIFEST_FILE
from kfp_vision.components.shared.runtime.storage.mirrors import (
    kept_folder,
    mirrored,
    take_copy_failures,
)
from kfp_vision.components.shared.runtime.storage.opening import open_folder
from kfp_vision.components.shared.runtime.storage.publishing import publish
from kfp_vision.components.shared.runtime.storage.reads import record_reads
from kfp_vision.components.shared.runtime.storage.transfers import download, move, remove, upload
from kfp_vision.components.shared.runtime.storage.uris import is_remote, local_path

__all__ = [
    "MANIFEST_FILE",
    "FileStart",
    "Folder",
    "StorageError",
    "download",
    "edit_document",
    "is_remote",
    "kept_folder",
    "local_path",
    "mirrored",
    "move",
    "open_folder",
    "publish",
    "read_document",
    "record_reads",
    "remove",
    "take_copy_failures",
    "upload",
]
