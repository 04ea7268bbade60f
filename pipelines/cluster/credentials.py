"""Who asks a server: the credentials of the KFP SDK, checked before one is sent, and never shown.

A character that a header cannot have would make the HTTP client print the token.
"""

import os
import re
from pathlib import Path

from kfp import client as kfp_client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

__all__ = ["IAP", "describe_credentials", "existing_token", "token_file"]

IAP = kfp_client.client.KF_PIPELINES_IAP_OAUTH2_CLIENT_ID_ENV
_TOKEN_PATH = kfp_client.KF_PIPELINES_SA_TOKEN_ENV
# As the command `kfp` names it.
_TOKEN = "KFP_EXISTING_TOKEN"


class _TokenFile(ServiceAccountTokenVolumeCredentials):  # type: ignore[misc]
    """Reads the token of a service account anew for every request."""

    def _get_token(self) -> str:
        return _checked(Path(self._token_path).read_bytes(), self._token_path)


def existing_token() -> str | None:
    """Returns the token of KFP_EXISTING_TOKEN, if it is set.

    Raises:
        ValueError: It is none.
    """
    given = os.environ.get(_TOKEN, "")
    return _checked(given.encode(), _TOKEN) if given else None


def token_file() -> _TokenFile | None:
    """Returns what reads the file of KF_PIPELINES_SA_TOKEN_PATH or that of a pod, if there is one.

    Raises:
        ValueError: The variable names no file.
    """
    named = os.environ.get(_TOKEN_PATH, "")
    if named and not Path(named).is_file():
        raise ValueError(f"{_TOKEN_PATH} must name a file. Received: {named}")
    path = named or kfp_client.KF_PIPELINES_SA_TOKEN_PATH
    return _TokenFile(path) if Path(path).is_file() else None


def describe_credentials() -> str:
    """Returns which credentials are sent, by name."""
    if os.environ.get(_TOKEN):
        return f"token of {_TOKEN}"
    if os.environ.get(IAP):
        return f"those for {IAP}"
    if token := token_file():
        return f"token in {token._token_path}"
    return f"none; set {_TOKEN}, {_TOKEN_PATH} or {IAP}"


def _checked(content: bytes, place: str) -> str:
    """Returns a token without the space around it."""
    token = content.strip()
    if not re.fullmatch(rb"[!-~]+", token):
        received = "other characters" if token else "nothing"
        raise ValueError(
            f"{place} must hold a token, letters and signs of ASCII in one line. Received: "
            f"{received}. Get a new one, and set it without what stands around it."
        )
    return token.decode()
