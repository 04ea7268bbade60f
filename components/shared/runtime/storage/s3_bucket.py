"""Buckets that speak S3: Amazon's, and those of AWS_ENDPOINT_URL."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from kfp_vision.components.shared.runtime.storage.buckets import (
    CLIENT,
    MAX_TRIES,
    RETRIES,
    TIMEOUT_S,
    StoredObject,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig

__all__ = ["S3Bucket"]

_CONFIG = Config(
    # Its pauses begin with up to a second.
    retries={"total_max_attempts": MAX_TRIES - 2, "mode": "standard"},
    connect_timeout=10,
    read_timeout=TIMEOUT_S,
    max_pool_connections=64,
    # The names of buckets are no subdomains of most endpoints.
    s3={"addressing_style": "path"},
)
# Parts of 8 MiB, ten at a time: at most 80 MiB in memory.
_UPLOAD = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=8 * 2**20)
# The most that one request copies; it needs no memory here.
_COPY = TransferConfig(multipart_threshold=5 * 2**30, multipart_chunksize=2**30)
# Another object is there, or is being written at this moment, or there is none any more.
_NOT_THE_KNOWN_ONE = (404, 409, 412)


class S3Bucket:
    """A `Bucket`."""

    def __init__(self, name: str) -> None:
        """Finds credentials, region and endpoint as every program of Amazon does.

        Raises:
            NoCredentialsError: There are none.
        """
        session = boto3.Session()
        if session.get_credentials() is None:
            raise NoCredentialsError()
        region = session.region_name or "us-east-1"
        self._name = name
        self._client = session.client("s3", region_name=region, config=_CONFIG)
        self.reader = S3Store(
            name,
            region=region,
            endpoint=self._client.meta.endpoint_url,
            virtual_hosted_style_request=False,
            credential_provider=Boto3CredentialProvider(session),
            client_options=_trusting(CLIENT),
            retry_config=RETRIES,
        )

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yields the objects whose keys start with `prefix`."""
        for page in self._pages(Prefix=prefix):
            yield from map(_stored, page.get("Contents", ()))

    def level(self, prefix: str) -> tuple[list[str], list[StoredObject]]:
        """Returns the prefixes and the objects up to the next `/` after `prefix`."""
        prefixes: list[str] = []
        objects: list[StoredObject] = []
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            objects += map(_stored, page.get("Contents", ()))
        return prefixes, objects

    def upload(self, source: Path, key: str) -> None:
        """Writes an object, in parts where it is large."""
        self._client.upload_file(str(source), self._name, key, Config=_UPLOAD)

    def put(self, content: bytes, key: str) -> None:
        """Writes an object of content in memory."""
        self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def put_over(self, content: bytes, key: str, known: "ObjectMeta | None") -> bool:
        """Writes an object in place of the one that is known."""
        condition = {"IfMatch": known["e_tag"]} if known else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(Bucket=self._name, Key=key, Body=content, **condition)
        except ClientError as error:
            is_other = error.response["Error"]["Code"] != "NoSuchBucket"
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if is_other and status in _NOT_THE_KNOWN_ONE:
                return False
            raise
        return True

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the bucket."""
        source = {"Bucket": self._name, "Key": key}
        self._client.copy(source, self._name, target, Config=_COPY)

    def delete(self, key: str) -> None:
        """Removes an object."""
        self._client.delete_object(Bucket=self._name, Key=key)

    def _pages(self, **question: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        yield from pages.paginate(Bucket=self._name, **question)


def _trusting(options: "ClientConfig") -> "ClientConfig":
    """Returns the options with the certificate that a store of one's own may need."""
    bundle = os.environ.get("AWS_CA_BUNDLE")
    return {**options, "root_certificate": Path(bundle).read_bytes()} if bundle else options


def _stored(entry: dict[str, Any]) -> StoredObject:
    modified = entry["LastModified"]
    version = entry.get("ETag") or modified.isoformat()
    return StoredObject(entry["Key"], entry["Size"], version, modified)
