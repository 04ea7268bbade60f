"""What a request to a Kubeflow Pipelines server met, in words: the cause and what to do."""

import contextlib
import json
import ssl
from typing import Any

from kfp_server_api import ApiException
from urllib3 import exceptions

from kfp_vision.pipelines.cluster.credentials import describe_credentials

__all__ = ["BackendError", "describe_failure", "describe_status", "no_api", "page_error"]

_MESSAGE_LENGTH = 500


class BackendError(RuntimeError):
    """The server, or the way to it, refuses a request.

    Attributes:
        status: The HTTP status; 0 when there is no answer of a Kubeflow Pipelines server.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def describe_failure(error: Exception, host: str) -> str:
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


def describe_status(error: ApiException, host: str) -> str:
    """Returns what an HTTP error means, with the server's own words."""
    said = _said(error.body)
    if error.status == 0:  # rest.py of the SDK: TLS.
        return f"TLS with {host} failed: {error.reason}"
    if error.status == 401:
        sent = describe_credentials()
        return f"{host} does not accept the credentials ({sent}): expired? Get new ones. {said}"
    if error.status == 403:
        return (
            f"{host} forbids this ({describe_credentials()}; check `--namespace`). {said}".strip()
        )
    if error.status == 404 and not said:
        return no_api(host, "404")
    return f"{host} answers {error.status} {error.reason}. {said}".strip()


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


def page_error(page: bytes, host: str) -> BackendError:
    """Returns what a web page in place of an answer means; a login page is a refusal."""
    lower = page.lower()
    if any(word in lower for word in (b"password", b"log in", b"login", b"sign in", b"signin")):
        return BackendError(
            f"{host} shows a login page: the credentials ({describe_credentials()}) are missing or "
            "expired. Get new ones.",
            status=401,
        )
    return BackendError(no_api(host, "a web page"))


def no_api(host: str, found: str) -> str:
    """Returns that a server is of another kind."""
    return (
        f"{host} is no Kubeflow Pipelines server: /apis/v2beta1 gives {found}. A gateway may serve "
        "it below a path, as in https://HOST/pipeline."
    )
