"""A proxy between a client and an object store that breaks chosen requests.

One request a connection; what is not broken passes unchanged.
"""

import contextlib
import dataclasses
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Literal
from urllib.parse import unquote, urlsplit

__all__ = ["Fault", "FaultyProxy", "proxied"]

_BLOCK = 64 * 1024
_END = b"\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        kind: `status`: an answer of the proxy instead of the store's; `reset_answer` and
            `reset_request`: the connection breaks after some bytes of the body; `truncate`: the
            answer ends early; `slow`: one longer than `_BLOCK` comes with pauses; `no_etag`: the
            answer has no ETag.
        value: The status, the number of bytes, or the seconds of a pause.
        method: The HTTP method that it is for; empty for any.
        path: Part of the path that it is for; empty for any.
    """

    kind: Literal["status", "reset_answer", "reset_request", "truncate", "slow", "no_etag"]
    value: float
    method: str = ""
    path: str = ""

    @property
    def first_byte(self) -> int:
        """The first byte of the body that does not pass as it would without the fault."""
        return {"status": 0, "no_etag": 0, "slow": _BLOCK}.get(self.kind, int(self.value))


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Forwards to a store; requests meet the faults of a list.

    Attributes:
        faults: Those to come; one is taken from the list where it happens to a request, so one
            behind the end of a body waits for a longer one.
        injected: Those that have happened.
        latency_s: Seconds before every answer, as of a store that is far away.
        num_requests: That have arrived.
    """

    allow_reuse_address = daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: str, latency_s: float = 0.0, renames: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        target = urlsplit(upstream)
        self.upstream = (str(target.hostname), int(target.port or 80))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: list[Fault] = []
        self.injected: list[Fault] = []
        self.latency_s, self.num_requests = latency_s, 0
        self._renames = renames
        self._address, self._store_address = (
            urlsplit(url).netloc.encode() for url in (self.url, upstream)
        )
        self._lock = threading.Lock()

    def to_store(self, head: bytes) -> bytes:
        """Returns the head of a request, for a store that wants to be called by its address."""
        return head.replace(self._address, self._store_address) if self._renames else head

    def to_client(self, head: bytes) -> bytes:
        """Returns the head of an answer, which may say where to go on."""
        return head.replace(self._store_address, self._address) if self._renames else head

    def count_request(self) -> None:
        """Adds one to the requests."""
        with self._lock:
            self.num_requests += 1

    def take_fault(self, request: str, kinds: Collection[str], block: range) -> Fault | None:
        """Takes the fault from the list that happens to a request now.

        Args:
            request: The first line of its head.
            kinds: Those that are possible now.
            block: The places of the bytes of the body that would pass next.
        """
        method, path, *_ = request.split(" ")
        with self._lock:
            for fault in self.faults:
                if (
                    fault.kind in kinds
                    and fault.first_byte in block
                    and fault.method in ("", method)
                    and fault.path in unquote(path)
                ):
                    self.faults.remove(fault)
                    return fault
        return None


class _Connection(socketserver.BaseRequestHandler):
    server: FaultyProxy
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            head, rest = _read_head(self.request)
            if head:
                self.server.count_request()
                self._forward(head, rest, head.split(b"\r\n")[0].decode())

    def _forward(self, head: bytes, rest: bytes, request: str) -> None:
        headers = _headers(head)
        if b"100-continue" in headers.get(b"expect", b"").lower():
            self.request.sendall(b"HTTP/1.1 100 Continue" + _END)
        body = _body(self.request, headers, rest)
        fault = self.server.take_fault(request, ("status",), range(1))
        if fault:
            for _ in body:
                pass
            empty = f"HTTP/1.1 {fault.value:.0f} Busy\r\nContent-Length: 0\r\nConnection: close"
            # Before the answer, after which the client may look.
            self.server.injected.append(fault)
            self.request.sendall(empty.encode() + _END)
            return
        with socket.create_connection(self.server.upstream) as store:
            store.sendall(_with_close(self.server.to_store(head)))
            if not self._send(body, store.sendall, request, ("reset_request",)):
                return
            if self.server.latency_s:
                time.sleep(self.server.latency_s)
            answer, rest = _read_head(store)
            if fault := self.server.take_fault(request, ("no_etag",), range(1)):
                answer = re.sub(rb"(?i)\r\netag:[^\r]*", b"", answer)
                self.server.injected.append(fault)
            self.request.sendall(self.server.to_client(answer))
            kinds = ("reset_answer", "truncate", "slow")
            self._send(_rest(store, rest), self.request.sendall, request, kinds)

    def _send(
        self,
        blocks: Iterator[bytes],
        send: Callable[[bytes], object],
        request: str,
        kinds: Collection[str],
    ) -> bool:
        """Passes a body on; returns whether all of it has been sent."""
        sent, pause_s = 0, 0.0
        for block in blocks:
            fault = self.server.take_fault(request, kinds, range(sent, sent + len(block)))
            if fault and fault.kind != "slow":
                send(block[: fault.first_byte - sent])
                if fault.kind != "truncate":
                    # Closed without waiting, the other side sees a reset, not an end.
                    linger = struct.pack("ii", 1, 0)
                    self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.server.injected.append(fault)
                return False
            if fault:
                pause_s = fault.value
                self.server.injected.append(fault)
            time.sleep(pause_s)
            send(block)
            sent += len(block)
        return True


def _read_head(source: socket.socket) -> tuple[bytes, bytes]:
    """Returns a head, up to the empty line, and what has arrived after it."""
    received = b""
    while _END not in received:
        block = source.recv(_BLOCK)
        if not block:
            return b"", b""
        received += block
    head, _, rest = received.partition(_END)
    return head + _END, rest


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _with_close(head: bytes) -> bytes:
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"expect:"))]
    return b"\r\n".join([first, *kept, b"Connection: close"]) + _END


def _body(source: socket.socket, headers: dict[bytes, bytes], rest: bytes) -> Iterator[bytes]:
    """Yields the body of a request, of a known length or in chunks, as it is on the line."""
    if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
        received = rest
        yield rest
        while not received.endswith(b"0\r\n\r\n"):
            block = source.recv(_BLOCK)
            if not block:
                return
            received = received[-8:] + block
            yield block
        return
    left = int(headers.get(b"content-length", b"0"))
    while left:
        block = rest or source.recv(min(_BLOCK, left))
        if not block:
            return
        rest = b""
        left -= len(block)
        yield block


def _rest(source: socket.socket, rest: bytes) -> Iterator[bytes]:
    """Yields all that comes up to the end of a connection."""
    if rest:
        yield rest
    while block := source.recv(_BLOCK):
        yield block


@contextlib.contextmanager
def proxied(url: str, latency_s: float = 0.0, renames: bool = False) -> Iterator[FaultyProxy]:
    """Starts a proxy before a store, and ends it.

    Args:
        url: Of the store.
        latency_s: Seconds before every answer.
        renames: Whether requests are given the address of the store, which S3 does not allow and
            fake-gcs-server wants.
    """
    with FaultyProxy(url, latency_s, renames) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
