"""Buckets of Google Cloud Storage, or of an emulator at STORAGE_EMULATOR_HOST."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import google.auth
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client
from google.cloud.storage.retry import DEFAULT_RETRY
from obstore.auth.google import GoogleCredentialProvider
from obstore.store import GCSStore

from kfp_vision.components.shared.runtime.storage.buckets import (
    CLIENT,
    RETRIES,
    TIMEOUT_S,
    StoredObject,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta

__all__ = ["GsBucket"]

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_RETRY = DEFAULT_RETRY.with_delay(initial=0.1, maximum=10, multiplier=2).with_timeout(TIMEOUT_S)
_FIELDS = "items(name,size,etag,generation,updated),prefixes,nextPageToken"
# Uploads may be forgotten by the store; Google says to begin them again.
_UPLOADS = 3


class GsBucket:
    """A `Bucket`."""

    def __init__(self, name: str) -> None:
        """Finds credentials as every program of Google does.

        Raises:
            DefaultCredentialsError: There are none.
        """
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if emulator:
            client = Client(project="none", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
            key = {"gcs_base_url": emulator, "disable_oauth": True}
            key |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
            self.reader = GCSStore(
                name,
                service_account_key=json.dumps(key),
                client_options=CLIENT,
                retry_config=RETRIES,
            )
        else:
            credentials, project = google.auth.default(scopes=[_SCOPE])
            # The project is of no use here, but the client wants one.
            client = Client(project=project or "none", credentials=credentials)
            self.reader = GCSStore(
                name,
                credential_provider=GoogleCredentialProvider(credentials),
                client_options=CLIENT,
                retry_config=RETRIES,
            )
        self._bucket = client.bucket(name)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yields the objects whose keys start with `prefix`."""
        yield from map(
            _stored, self._bucket.list_blobs(prefix=prefix, fields=_FIELDS, retry=_RETRY)
        )

    def level(self, prefix: str) -> tuple[list[str], list[StoredObject]]:
        """Returns the prefixes and the objects up to the next `/` after `prefix`."""
        found = self._bucket.list_blobs(prefix=prefix, delimiter="/", fields=_FIELDS, retry=_RETRY)
        objects = [_stored(blob) for blob in found]
        return sorted(found.prefixes), objects

    def upload(self, source: Path, key: str) -> None:
        """Writes an object; a broken upload goes on where it broke.

        Raises:
            NotFound: There is no such bucket.
        """
        for left in reversed(range(_UPLOADS)):
            blob = self._bucket.blob(key)
            try:
                blob.upload_from_filename(
                    str(source), checksum="crc32c", timeout=TIMEOUT_S, retry=_RETRY
                )
                return
            except NotFound:
                if not left:
                    raise

    def put(self, content: bytes, key: str) -> None:
        """Writes an object of content in memory."""
        blob = self._bucket.blob(key)
        blob.upload_from_string(content, checksum="crc32c", timeout=TIMEOUT_S, retry=_RETRY)

    def put_over(self, content: bytes, key: str, known: "ObjectMeta | None") -> bool:
        """Writes an object in place of the one that is known."""
        generation = int(known["version"] or 0) if known else 0
        try:
            self._bucket.blob(key).upload_from_string(
                content,
                checksum="crc32c",
                if_generation_match=generation,
                timeout=TIMEOUT_S,
                retry=_RETRY,
            )
        except PreconditionFailed:
            return False
        return True

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the bucket."""
        source, token = self._bucket.blob(key), None
        while True:
            token, *_ = self._bucket.blob(target).rewrite(source, token=token, retry=_RETRY)
            if token is None:
                return

    def delete(self, key: str) -> None:
        """Removes an object."""
        try:
            self._bucket.blob(key).delete(retry=_RETRY)
        except NotFound:
            # A repeated request, of which the first was done but not answered.
            return


def _stored(blob: Blob) -> StoredObject:
    return StoredObject(blob.name, blob.size or 0, str(blob.etag or blob.generation), blob.updated)
