"""A converted graph kept in a file that is used only if it was made of the same, and is whole."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["load_graph"]

_DIGEST_BYTES = hashlib.sha256().digest_size


def load_graph(path: Path | None, identity: str, convert: Callable[[], bytes]) -> bytes:
    """Returns what `convert` does; while the file is sound and of this identity, from the file.

    Args:
        path: Begins with the SHA-256 of identity and graph; None keeps nothing.
        identity: Of everything that the graph is made of.
        convert: Makes the graph.
    """
    if path is None:
        return _converted(convert)
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    graph = content[_DIGEST_BYTES:]
    if content[:_DIGEST_BYTES] == _digest(identity, graph):
        return graph
    graph = _converted(convert)
    try:
        write_atomically(path, _digest(identity, graph) + graph)
    except OSError as error:
        print(f"The converted network is not kept: {error}")
    return graph


def _converted(convert: Callable[[], bytes]) -> bytes:
    with Progress("convert the network"):
        return convert()


def _digest(identity: str, graph: bytes) -> bytes:
    return hashlib.sha256(identity.encode() + graph).digest()
