"""What makes a scheduled run train: fields of a schedule, options of `watch`, inputs of the DAG."""

import dataclasses
import math
from datetime import UTC, datetime
from typing import Any

__all__ = ["CREATED_AT", "LocalTime", "Triggers"]

# The server replaces it in parameters of a run by the time, UTC, at which it makes that.
# Source: KFP 2.17, backend/src/common/util/parameter_formatter.go.
CREATED_AT = "[[CurrentTime]]"


def _field(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Triggers:
    """When to train; a new recipe or model file is always a reason."""

    min_new_share: float = _field(
        0.0, "Files that are new, changed or gone, as a share of all; 0: any change is enough."
    )
    max_age_days: float = _field(
        0.0,
        "Train when the last success is that old, in days, with another seed where nothing is new; "
        "0: never.",
    )
    max_metric_drop: float = _field(
        0.0,
        "Train when the champion's metric on files that it has not read is surely more than this "
        "below that on its test images, of the same classes, where there are too few new files; 0: "
        "it is not measured.",
    )

    def __post_init__(self) -> None:
        """Refuses what can never be met."""
        for name, value in vars(self).items():
            limit = math.inf if name == "max_age_days" else 1.0
            if not (0 <= value < math.inf and value <= limit):
                raise ValueError(f"`{name}` must be from 0 to {limit:g}. Received: {value!r}")


@dataclasses.dataclass(frozen=True)
class LocalTime:
    """When a schedule of a zone that is not the server's has a run; `cron.py` says why."""

    cron: str = _field(
        "", "Set by `schedule apply`: a run that starts at another time ends at once."
    )
    time_zone: str = _field("", "Set by `schedule apply`: zone of `cron`; empty: any time.")
    created_at: str = _field(
        "", "Set by `schedule apply`: the server puts the time here at which it makes the run."
    )

    def created(self, now: datetime) -> datetime:
        """Returns when the server has made the run; `now` where it does not say.

        A pod may start long afterwards.
        """
        try:
            return datetime.strptime(self.created_at, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return now
