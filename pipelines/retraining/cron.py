"""Cron expressions of six fields, seconds first, in a time zone of their own.

A Kubeflow Pipelines server reads all of its schedules in one zone (`cronScheduleTimezone` of its
installation, UTC unless set) and with robfig/cron 1.2, which knows no `TZ=`. So the server is given
the times of day in UTC that a schedule may have over a year, 01:00 and 02:00 for 03:00 in Berlin,
and the first task of a run ends it where the hour is not the one of the season: where the server
has made the run right after such a time. What it has made at another one, by hand or late, is not
ended.

The fields mean what they mean there (github.com/robfig/cron, v1.2.0, parser.go and spec.go): `*`,
`?`, `1,2`, `1-5`, `*/15`, `10/15`, names of months and days; the day must match both fields of days
where one of them begins with `*` or `?`, and one of the two where both are restricted.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["Cron", "missed_time", "read_cron", "read_zone", "server_cron"]

_NAMES = ("second", "minute", "hour", "day", "month", "weekday")
_LIMITS = {
    **{"second": (0, 59), "minute": (0, 59), "hour": (0, 23)},
    **{"day": (1, 31), "month": (1, 12), "weekday": (0, 6)},
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS: Mapping[str, Mapping[str, int]] = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "weekday": {name: number for number, name in enumerate(_DAYS)},
}
_DAY_MINUTES, _YEAR_DAYS = 24 * 60, 366
# That a server takes from the time of a schedule to its run.
_LATE_MINUTES = 10


@dataclasses.dataclass(frozen=True)
class Cron:
    """A cron expression.

    Attributes:
        values: Field -> the numbers that it matches.
        any_day: Whether one of the two fields of days begins with a star.
    """

    values: Mapping[str, frozenset[int]]
    any_day: bool

    def matches(self, at: datetime) -> bool:
        """Returns whether a minute, in its own zone, has a time of the expression."""
        found = {
            **{"minute": at.minute, "hour": at.hour, "month": at.month, "day": at.day},
            "weekday": at.isoweekday() % 7,
        }
        met = {name: number in self.values[name] for name, number in found.items()}
        days = (met.pop("day"), met.pop("weekday"))
        return all(met.values()) and (all(days) if self.any_day else any(days))


def read_cron(text: str) -> Cron:
    """Returns a cron expression.

    Raises:
        ValueError: It does not have six fields, or one of them is none.
    """
    fields = text.split()
    if len(fields) != len(_NAMES):
        raise ValueError(
            "`cron` must have six fields, seconds first, as in '0 0 3 * * *' for 03:00 each day. "
            f"Received: {text!r}, with {len(fields)}"
        )
    try:
        values = {
            name: frozenset(number for part in field.split(",") for number in _range(name, part))
            for name, field in zip(_NAMES, fields, strict=True)
        }
    except ValueError as error:
        raise ValueError(
            f"`cron` must be a cron expression. Received: {text!r} ({error})"
        ) from error
    days = f"{fields[3]},{fields[5]}".split(",")
    return Cron(values, any(part[0] in "*?" for part in days))


def _range(name: str, text: str) -> range:
    """Returns the numbers of `*`, `3`, `3-5` or `jan-mar`, each with or without a step `/2`."""
    low, high = _LIMITS[name]
    span, slash, step = text.partition("/")
    first, dash, last = span.partition("-")
    if first not in ("*", "?"):
        begin = _number(name, first)
        high = _number(name, last) if dash else high if slash else begin
        low, least = begin, low
        if not least <= low <= high <= _LIMITS[name][1]:
            raise ValueError(f"{name} {text!r} is not in {least}-{_LIMITS[name][1]}")
    if slash and not (step.isdecimal() and int(step)):
        raise ValueError(f"the step of {text!r} is not a positive number")
    return range(low, high + 1, int(step or 1))


def _number(name: str, text: str) -> int:
    number = _WORDS.get(name, {}).get(text.lower())
    if number is None and not text.isdecimal():
        raise ValueError(f"{name} {text!r} is not a number")
    return int(text) if number is None else number


def read_zone(name: str) -> ZoneInfo:
    """Returns a time zone.

    Raises:
        ValueError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            "`time_zone` must be a name of the IANA list, as Europe/Berlin or UTC. "
            f"Received: {name!r}"
        ) from error


def server_cron(text: str, zone: ZoneInfo, at: datetime) -> str:
    """Returns the expression for a server in UTC: it holds all times that the zone may need.

    Args:
        text: The expression in the zone.
        zone: Its zone.
        at: The year that begins here decides which offsets the zone has.

    Raises:
        ValueError: The expression is none.
    """
    cron, offsets = read_cron(text), _offsets(zone, at)
    if offsets == {0}:
        return text
    second, _, _, *days = text.split()
    moved = {
        hour * 60 + minute - offset
        for hour in cron.values["hour"]
        for minute in cron.values["minute"]
        for offset in offsets
    }
    # Times of another day in UTC: the first task knows the day in the zone.
    if any(not 0 <= minutes < _DAY_MINUTES for minutes in moved):
        days = ["*"] * 3
    times = [divmod(minutes % _DAY_MINUTES, 60) for minutes in moved]
    hours, minutes = (_listed(numbers) for numbers in zip(*times, strict=True))
    return " ".join([second, minutes, hours, *days])


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted({*numbers})))


def _offsets(zone: ZoneInfo, at: datetime) -> set[int]:
    """Returns the offsets from UTC of a year in minutes."""
    days = (at.astimezone(UTC) + timedelta(days=day) for day in range(_YEAR_DAYS))
    found = {day.astimezone(zone).utcoffset() for day in days}
    return {int(offset.total_seconds()) // 60 for offset in found if offset is not None}


def missed_time(text: str, zone: ZoneInfo, at: datetime) -> datetime | None:
    """Returns the time of the server that a run was made for, if the zone has none there; or None.

    Args:
        text: The expression in the zone.
        zone: Its zone.
        at: When the run was made.
    """
    cron, served = read_cron(text), read_cron(server_cron(text, zone, at))
    last = at.astimezone(UTC).replace(second=0, microsecond=0)
    for minutes in range(_LATE_MINUTES + 1):
        minute = last - timedelta(minutes=minutes)
        if served.matches(minute):
            return None if cron.matches(minute.astimezone(zone)) else minute
    return None
