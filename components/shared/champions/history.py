"""`champion.json`: which version is the champion, and all that has led to it; nothing is removed.

Promotions lie on each other as on a stack: a rollback takes the uppermost away, and the one before
is the champion again.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

__all__ = ["Champions", "Entry", "Kind", "parse_champions"]

Kind = Literal["promoted", "kept", "overtaken", "rolled_back"]
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """What happened to a version.

    Attributes:
        at: UTC, ISO 8601.
        kind: `promoted` to champion, `kept` as a challenger, `overtaken` (kept, because the
            champion that it would have replaced was replaced meanwhile, or the one that it lost
            against was rolled back), or `rolled_back`.
        version: Its name.
        reason: One sentence.
    """

    at: str
    kind: Kind
    version: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Champions:
    """The content of `champion.json`.

    Attributes:
        history: Oldest first.
    """

    history: tuple[Entry, ...] = ()

    @property
    def champion(self) -> str:
        """The name of the champion; empty without one."""
        return next(reversed(self._promoted()), "")

    @property
    def previous(self) -> str:
        """What a rollback makes the champion; empty without one."""
        return next(reversed(self._promoted()[:-1]), "")

    def holds(self, version: str) -> bool:
        """Returns whether a version is the champion or lies below it: it is not rolled back."""
        return version in self._promoted()

    def last_entry(self, version: str) -> Entry | None:
        """Returns what happened to a version last; None if nothing has."""
        return next((each for each in reversed(self.history) if each.version == version), None)

    def with_entry(self, entry: Entry) -> "Champions":
        """Returns the champions after an entry.

        Raises:
            ValueError: It promotes the champion, or rolls back another one or the only one.
        """
        if entry.kind == "promoted" and entry.version == self.champion:
            raise ValueError(
                f"What is promoted must not be the champion. Received: {entry.version!r}"
            )
        if entry.kind == "rolled_back" and not (self.previous and entry.version == self.champion):
            raise ValueError(
                "A rollback needs a champion and one before it. Received: the champion "
                f"{self.champion!r}, before it {self.previous!r}. `kfp-vision promote` makes any "
                "version the champion."
            )
        return Champions((*self.history, entry))

    def to_json(self) -> bytes:
        """Returns the content of the file."""
        content = {
            "format": _FORMAT,
            "champion": self.champion,
            "history": [dataclasses.asdict(each) for each in self.history],
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

    def _promoted(self) -> Sequence[str]:
        stack: list[str] = []
        for entry in self.history:
            if entry.kind == "promoted":
                stack.append(entry.version)
            elif entry.kind == "rolled_back":
                stack.pop()
        return stack


def parse_champions(content: bytes | None, uri: str) -> Champions:
    """Returns what a file holds; without a file there is no champion.

    Raises:
        ValueError: The file is none of this version of kfp-vision, or was changed by hand.
    """
    if content is None:
        return Champions()
    try:
        document: dict[str, Any] = json.loads(content)
        champions = Champions(tuple(Entry(**each) for each in document["history"]))
        is_valid = (document["format"], document["champion"]) == (_FORMAT, champions.champion)
        is_valid = is_valid and {each.kind for each in champions.history} <= {*get_args(Kind)}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _refused(uri, f"{type(error).__name__}: {error}") from error
    if not is_valid:
        raise _refused(uri, f"format {document['format']}, champion {document['champion']!r}")
    return champions


def _refused(uri: str, what: str) -> ValueError:
    return ValueError(
        f"champion.json must be written by kfp-vision, in format {_FORMAT}, and name the champion "
        f"that its history leads to. Received: {uri!r} ({what}). Restore it, or choose another "
        "`champion_uri`."
    )
