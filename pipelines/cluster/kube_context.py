"""The current kube context of this machine: asked for what a server does not tell.

The client of Kubernetes waits without end for the credential plugin of a context, as `exec` in a
kubeconfig names one; here a plugin has a time limit.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes
import psutil
import yaml
from urllib3.exceptions import HTTPError

__all__ = ["PLUGIN_S", "UNUSABLE", "ask_context", "limited_plugin"]

# What a kubeconfig that is none, or of another shape, makes its reader raise.
UNUSABLE = (
    kubernetes.config.ConfigException,
    *(yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError),
)
# A person may have to log in.
PLUGIN_S = 45.0
# Nobody has asked for this login: a run is being followed.
_SIDE_PLUGIN_S = 10.0


@contextlib.contextmanager
def limited_plugin(seconds: float) -> Iterator[None]:
    """Ends a credential plugin that the body has started and that takes longer.

    Raises:
        TimeoutError: One was ended.
    """
    others, ended = psutil.Process().children(), []

    def end() -> None:
        for plugin in set(psutil.Process().children()).difference(others):
            with contextlib.suppress(psutil.NoSuchProcess):
                ended.append(plugin.name())
                for each in [plugin, *plugin.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # What came of it, a refusal, would not say why.
        if ended:
            raise TimeoutError(
                f"The credential plugin of the kube context must answer in {seconds:g} s. Received:"
                f" nothing from {ended[0]!r}, which was ended. Log in with it, or add `--host URL`."
            )


def ask_context(question: Callable[[kubernetes.client.CoreV1Api], Any]) -> Any:
    """Returns what the current kube context answers; None where there is none, or no answer.

    The context may be that of another cluster, which knows no such pod.
    """
    try:
        with limited_plugin(_SIDE_PLUGIN_S):
            return question(_api())
    except (*UNUSABLE, kubernetes.client.ApiException, HTTPError, OSError):
        return None


@functools.cache
def _api() -> kubernetes.client.CoreV1Api:
    settings = kubernetes.client.Configuration()
    settings.retries = False  # urllib3 would log each.
    client = kubernetes.config.new_client_from_config(client_configuration=settings)
    return kubernetes.client.CoreV1Api(client)
