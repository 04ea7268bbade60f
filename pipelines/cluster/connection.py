"""The connection to a Kubeflow Pipelines server: that of the KFP SDK, with a reason within seconds.

The SDK's client waits without end for a server that does not answer, asks five times whether there
is one, and fails with tracebacks of whatever library met the error. Here every request has a time
limit, and what goes wrong is a `BackendError` that names the cause and what to do.
"""

import contextlib
import json
import os
import ssl
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp
import kubernetes
import urllib3
from google.auth.exceptions import GoogleAuthError
from kfp import client as kfp_client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException
from urllib3 import exceptions

from kfp_vision.pipelines.cluster.kube_context import PLUGIN_S, limited_plugin

__all__ = ["BackendError", "connect", "get"]

_CONNECT_S = 5.0
_READ_S = 60.0
# Of the first request: a server that is there answers it from memory.
_FIRST_READ_S = 10.0
_ENDPOINT = kfp_client.client.KF_PIPELINES_ENDPOINT_ENV
_IAP = kfp_client.client.KF_PIPELINES_IAP_OAUTH2_CLIENT_ID_ENV
_TOKEN_PATH = kfp_client.KF_PIPELINES_SA_TOKEN_ENV
# As the command `kfp` names it.
_TOKEN = "KFP_EXISTING_TOKEN"
_MESSAGE_LENGTH = 500


class BackendError(RuntimeError):
    """The server, or the way to it, refuses a request.

    Attributes:
        status: The HTTP status; 0 when there is no answer of a Kubeflow Pipelines server.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


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
            raise BackendError(_no_api(self._existing_config.host, "another JSON"))
        return answer

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
    if host and "://" not in host:
        host = f"https://{host}"
    if not host:
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
            existing_token=os.environ.get(_TOKEN) or None,
            credentials=_token_file(),
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


def _check_cluster() -> None:
    """Refuses to go on without a host, a cluster around this process or a kube context."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return
    try:
        kubernetes.config.list_kube_config_contexts()
    except kubernetes.config.ConfigException as error:
        raise ValueError(
            "There must be a server to talk to. Received: no host, and no kube context "
            f"({error}). Add `--host URL`, or set {_ENDPOINT}."
        ) from error


def _token_file() -> ServiceAccountTokenVolumeCredentials | None:
    """Returns what reads the token of a service account anew for every request, if there is one."""
    named = os.environ.get(_TOKEN_PATH, "")
    if named and not Path(named).is_file():
        raise ValueError(f"{_TOKEN_PATH} must name a file. Received: {named}")
    path = named or kfp_client.KF_PIPELINES_SA_TOKEN_PATH
    return ServiceAccountTokenVolumeCredentials(path) if Path(path).is_file() else None


@contextlib.contextmanager
def _explained_credentials() -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as error:
        raise BackendError(f"Google gives no credentials for {_IAP}: {error}") from error
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
            raise BackendError(_describe_status(error, host), error.status) from error
        except exceptions.HTTPError as error:
            raise BackendError(_describe_failure(error, host)) from error
        except UnicodeError as error:  # A host name that is none.
            raise BackendError(f"{host} is no address: {error}") from error
        wants_json = options.get("headers", {}).get("Accept") == "application/json"
        if wants_json and "html" in str(response.getheader("Content-Type")):
            raise _page_error(response.data, host)
        return response

    return explained_request


def _describe_failure(error: Exception, host: str) -> str:
    """Returns why a request got no answer."""
    cause = error.reason if isinstance(error, exceptions.MaxRetryError) else error
    if isinstance(cause, exceptions.NameResolutionError):
        return f"The name in {host} does not resolve. Check `--host`, DNS and VPN."
    if isinstance(cause, exceptions.NewConnectionError):
        system = cause.__cause__ or cause
        return f"Nothing answers at {host} ({system}). Is the server or the port-forward running?"
    if isinstance(cause, exceptions.TimeoutError):
        return f"{host} does not answer in time ({cause}). Check the address, VPN and firewall."
    if isinstance(cause, exceptions.SSLError):
        return _describe_tls(cause, host)
    return f"The connection to {host} broke: {cause}"


def _describe_tls(error: exceptions.SSLError, host: str) -> str:
    reason = error.args[0] if error.args else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {host} is not accepted: {reason.verify_message}. Name the file "
            "of its authority with `--ca-cert` or SSL_CA_CERT."
        )
    text = str(reason)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return f"{host} answers without TLS. Use http:// in `--host`."
    return f"TLS with {host} failed: {text}"


def _describe_status(error: ApiException, host: str) -> str:
    """Returns what an HTTP error means, with the server's own words."""
    said = _said(error.body)
    if error.status == 0:  # rest.py of the SDK: TLS.
        return f"TLS with {host} failed: {error.reason}"
    if error.status == 401:
        return f"{host} does not accept the credentials ({_credentials()}): expired? {said}".strip()
    if error.status == 403:
        return f"{host} forbids this ({_credentials()}; check `--namespace`). {said}".strip()
    if error.status == 404 and not said:
        return _no_api(host, "404")
    return f"{host} answers {error.status} {error.reason}. {said}".strip()


def _credentials() -> str:
    """Returns which credentials were sent, by name."""
    if os.environ.get(_TOKEN):
        return f"token of {_TOKEN}"
    if os.environ.get(_IAP):
        return f"those for {_IAP}"
    if token := _token_file():
        return f"token in {token._token_path}"
    return f"none; set {_TOKEN}, {_TOKEN_PATH} or {_IAP}"


def _said(body: Any) -> str:
    """Returns the message in the body of an error, shortened; empty when it holds none."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, dict):
            said = content.get("error_message") or content.get("message") or content.get("error")
            text = str(said or "")
    if text.lstrip().startswith("<") or text.startswith("404 page not found"):
        return ""
    shown = " ".join(text.split())
    return f"It says: {shown[:_MESSAGE_LENGTH]}" if shown else ""


def _page_error(page: bytes, host: str) -> BackendError:
    """Returns what a web page in place of an answer means; a login page is a refusal."""
    lower = page.lower()
    if any(word in lower for word in (b"password", b"log in", b"login", b"sign in", b"signin")):
        return BackendError(
            f"{host} shows a login page: the credentials ({_credentials()}) are missing or "
            "expired.",
            status=401,
        )
    return BackendError(_no_api(host, "a web page"))


def _no_api(host: str, found: str) -> str:
    return (
        f"{host} is no Kubeflow Pipelines server: /apis/v2beta1 gives {found}. A gateway may serve "
        "it below a path, as in https://HOST/pipeline."
    )
