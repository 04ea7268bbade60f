"""`cost.json` in the folder of every stage."""

import dataclasses

__all__ = ["COST_FILE", "START_UP", "StageCost"]

COST_FILE = "cost.json"
# Name of what a task has taken before its stage begins.
START_UP = "start_up"


@dataclasses.dataclass(frozen=True)
class StageCost:
    """`cost.json` in the folder of every stage: what the stage cost, measured by the stage.

    Attributes:
        name: Stage name, as the DAG shows it.
        seconds: Wall-clock seconds of the verb.
        images_seen: Images that went through a model or a decoder, with repetition.
    """

    name: str
    seconds: float
    images_seen: int
