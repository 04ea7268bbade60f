"""The content of a dataset as one number that does not depend on the order of its images."""

import hashlib

__all__ = ["Fingerprint"]

_MODULUS = 2**256


class Fingerprint:
    """A sum of SHA-256 digests modulo 2^256, in constant memory.

    A sum, not an exclusive or: two equal images must not cancel out.

    Reference: AdHash in Bellare and Micciancio, 1997, "A new paradigm for collision-free hashing".
    It detects change; it is not meant to resist somebody who looks for a collision.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, sha256: bytes, labels: str, split: str) -> None:
        """Adds an image: the digest of its pixels, its class names in one string, its split."""
        digest = hashlib.sha256(b"\0".join((sha256, labels.encode(), split.encode()))).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % _MODULUS

    def hexdigest(self) -> str:
        """Returns 64 hexadecimal digits."""
        return f"{self._sum:064x}"
