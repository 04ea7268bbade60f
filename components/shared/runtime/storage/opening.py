"""From a URI to its folder."""

from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.errors import explained
from kfp_vision.components.shared.runtime.storage.folders import Folder, is_content, is_object
from kfp_vision.components.shared.runtime.storage.manifests import find_manifest
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key, local_path, scheme_of

__all__ = ["open_folder"]


def open_folder(uri: str, follow_links: bool = False) -> tuple[Folder, str]:
    """Returns the folder of a URI and, when the URI names a file, the file's name in it.

    Args:
        uri: A local path, file://, gs://, s3:// or minio://.
        follow_links: Whether local links may lead out of the folder, and to other folders.

    Raises:
        ValueError: The scheme is not supported.
        StorageError: There is nothing at `uri`, or it cannot be reached.
    """
    scheme = scheme_of(uri)
    with explained(uri, scheme):
        if scheme == "file":
            path = local_path(uri, "uri").resolve(strict=True)
            if path.is_dir():
                return Folder(uri.rstrip("/"), str(path), scheme, None, follow_links), ""
            return Folder(uri.rpartition("/")[0], str(path.parent), scheme, None, follow_links), (
                path.name
            )
        return _open_remote(uri, scheme)


def _open_remote(uri: str, scheme: str) -> tuple[Folder, str]:
    name, key = bucket_and_key(uri)
    bucket, file_name = open_bucket(scheme, name), ""
    if key and not uri.endswith("/") and is_object(bucket, key):
        uri, _, file_name = uri.rpartition("/")
        key = key.rpartition("/")[0]
    prefix = f"{key}/" if key else ""
    manifest = find_manifest(bucket, key)
    if not file_name and key and manifest is None:
        paths = (found.key[len(prefix) :] for found in bucket.objects(prefix))
        # What is being published for the first time is not there yet.
        if not any(map(is_content, paths)):
            raise FileNotFoundError("there is no such file or folder")
    root = f"{name}/{key}".rstrip("/")
    return Folder(uri.rstrip("/"), root, scheme, bucket, manifest=manifest), file_name
