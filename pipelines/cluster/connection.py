"""The connection to a Kubeflow Pipelines server: that of the KFP SDK, with a reason within seconds.

The SDK's client waits without end for a server that does not answer, asks five times whether there
is one, and fails with tracebacks of whatever library met the error. Here every request has a time
limit, and what goes wrong is a `BackendError` that names the cause and what to do.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp
import kubernetes
import urllib3
from google.auth.exceptions import GoogleAuthError
from kfp import client as kfp_client
from kfp_server_api import ApiException
from urllib3 import exceptions

from kfp_vision.pipelines.cluster.credentials import (
    IAP,
    existing_token,
    token_file,
)
from kfp_vision.pipelines.cluster.kube_context import PLUGIN_S, UNUSABLE, limited_plugin
from kfp_vision.pipelines.cluster.refusals import (
    BackendError,
    describe_failure,
    describe_status,
    no_api,
    page_error,
)

__all__ = ["BackendError", "connect", "get"]

_CONNECT_S = 5.0
_READ_S = 45.0
# Of the first request: a server that is there answers it from memory.
_FIRST_READ_S = 10.0
_ENDPOINT = kfp_client.client.KF_PIPELINES_ENDPOINT_ENV


class _Client(kfp.Client):  # type: ignore[misc]
    """The SDK's client; it asks once whether there is a server, and writes no file."""

    def _load_config(self, *args: Any, **kwargs: Any) -> Any:
        config = super()._load_config(*args, **kwargs)
        # A second attempt is made by those who wait for something; urllib3 would log each.
        config.retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5)
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asks what the server is."""
        _explain_errors(self)
        answer = self._healthz_api.healthz_service_get_healthz(
            _request_timeout=(_CONNECT_S, _FIRST_READ_S)
        )
        if answer is None or answer.multi_user is None:
            raise BackendError(no_api(self._existing_config.host, "another JSON"))
        return answer

    def _load_context_setting_or_default(self) -> None:
        try:
            super()._load_context_setting_or_default()
            self._context_setting["namespace"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(
                "The file of the KFP SDK must hold a JSON object with `namespace`. Received: "
                f"{self._LOCAL_KFP_CONTEXT} ({error}). Remove it."
            ) from error

    def set_user_namespace(self, namespace: str) -> None:
        """Sets the namespace of this client; the SDK would save it for all others."""
        self._context_setting["namespace"] = namespace


def connect(host: str = "", namespace: str = "", ca_cert: str = "") -> kfp.Client:
    """Returns a client of a server that answers and lets its user in.

    Args:
        host: URL of the server or of its UI; empty: KF_PIPELINES_ENDPOINT, or the service of the
            cluster that this process runs in, or that of the current kube context.
        namespace: Of the user where several share the server; empty: that of the SDK's
            configuration or of this pod. Without a host it is where the server runs, too.
        ca_cert: File of the certificate authority; empty: SSL_CA_CERT, or those of Mozilla.

    Credentials are those of the SDK: KFP_EXISTING_TOKEN, the file of KF_PIPELINES_SA_TOKEN_PATH or
    the projected token of a pod, KF_PIPELINES_IAP_OAUTH2_CLIENT_ID, those of a kube context.

    Raises:
        ValueError: There is no host, or a file of token or certificate is not there.
        BackendError: No server answers, or it refuses the user or the namespace.
    """
    host = host or os.environ.get(_ENDPOINT, "")
    if host:
        host = _checked_host(host if "://" in host else f"https://{host}")
    else:
        _check_cluster()
    ca_cert = ca_cert or os.environ.get("SSL_CA_CERT", "")
    if ca_cert and not Path(ca_cert).is_file():
        raise ValueError(f"`ca_cert` must be a file. Received: {ca_cert}")
    with warnings.catch_warnings(), _explained_credentials(), limited_plugin(PLUGIN_S):
        # About versions of a server that are older than this package.
        warnings.simplefilter("ignore", FutureWarning)
        client = _Client(
            host=host or None,
            namespace=namespace or "kubeflow",
            existing_token=existing_token(),
            credentials=token_file(),
            ssl_ca_cert=ca_cert or None,
        )
    if client.get_kfp_healthz().multi_user:
        if not client.get_user_namespace():
            raise ValueError(
                f"Several users share {client._existing_config.host}: it wants a namespace. "
                "Received: none. Add `--namespace`."
            )
    else:
        client.set_user_namespace("")
    # The first question is open to all, this one is not.
    client.list_experiments(page_size=1)
    return client


def get(client: kfp.Client, path: str, **query: str) -> urllib3.BaseHTTPResponse:
    """Asks the server for what the SDK has no method for; the body of the answer is still unread.

    Raises:
        BackendError: There is no answer, or the status is not that of success.
    """
    api = client._run_api.api_client
    response: urllib3.BaseHTTPResponse = api.call_api(
        path,
        "GET",
        query_params=list(query.items()),
        header_params={"Accept": "*/*"},
        auth_settings=["Bearer"],
        _return_http_data_only=True,
        _preload_content=False,
    )
    return response


def _checked_host(host: str) -> str:
    """Returns an address that requests can be sent to, without a slash at the end.

    Raises:
        ValueError: It is none, or that of a place in a page, or has a password in it.
    """
    with contextlib.suppress(ValueError):  # Of a port or an address in brackets.
        parts = urlsplit(host)
        plain = host.isprintable() and not set(host) & set(" ?#@\\")
        if plain and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return host.rstrip("/")
    raise ValueError(
        "`host` must be a URL as https://HOST:PORT/PATH. Received: "
        f"{host.rpartition('@')[2]!r}. Copy the address of the server's page up to its `#`."
    )


def _check_cluster() -> None:
    """Refuses to go on without a host, a cluster around this process or a kube context."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return
    try:
        kubernetes.config.list_kube_config_contexts()
    except UNUSABLE as error:
        raise ValueError(
            "There must be a server to talk to. Received: no host, and no kube context "
            f"({error}). Add `--host URL`, or set {_ENDPOINT}."
        ) from error


@contextlib.contextmanager
def _explained_credentials() -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as error:
        raise BackendError(f"Google gives no credentials for {IAP}: {error}") from error
    except TimeoutError as error:
        raise BackendError(str(error)) from error


def _explain_errors(client: kfp.Client) -> None:
    """Gives the requests of a client a time limit, and turns their errors into `BackendError`.

    All its APIs share one REST client, whose `request` they call through `GET`, `POST`...
    """
    rest, host = client._healthz_api.api_client.rest_client, client._existing_config.host
    if "request" not in vars(rest):
        rest.request = _explained(rest.request, host)


def _explained(request: Callable[..., Any], host: str) -> Callable[..., Any]:
    def explained_request(method: str, url: str, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or (_CONNECT_S, _READ_S)
        try:
            response = request(method, url, **options)
        except ApiException as error:
            raise BackendError(describe_status(error, host), error.status) from error
        except exceptions.HTTPError as error:
            raise BackendError(describe_failure(error, host)) from error
        except UnicodeError as error:  # A host name that is none.
            raise BackendError(f"{host} is no address: {error}") from error
        if options.get("headers", {}).get("Accept") == "application/json":
            if "html" in str(response.getheader("Content-Type")):
                raise page_error(response.data, host)
            # The SDK would take anything for an answer without a value.
            with contextlib.suppress(ValueError):
                if isinstance(json.loads(response.data or "{}"), dict):
                    return response
            raise BackendError(no_api(host, "no JSON object"))
        return response

    return explained_request
