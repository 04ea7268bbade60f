"""A proxy that breaks requests, between this process and the server of `bucket`."""

import os

import pytest
from storage_faults import proxied

from kfp_vision.components.shared.runtime.storage.buckets import open_bucket


@pytest.fixture
def proxy(bucket, request, monkeypatch):
    """A proxy before the server of `bucket`, which the clients of this process go through."""
    variable = "AWS_ENDPOINT_URL" if bucket.startswith("s3") else "STORAGE_EMULATOR_HOST"
    with proxied(os.environ[variable], renames=bucket.startswith("gs")) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        open_bucket.cache_clear()
        yield proxy
    open_bucket.cache_clear()
