"""What the choice of the network tells the report."""

import dataclasses
import math

from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult, NetworkChoice
from kfp_vision.components.shared.report.records import Section, StageReport

__all__ = ["choice_report", "describe_candidate"]


def describe_candidate(candidate: CandidateResult) -> str:
    """Returns what is done with the network of a candidate."""
    if candidate.trainable == "head":
        return "frozen, head fitted"
    if candidate.is_pretrained:
        return "fine-tuned"
    return "as from scratch" if is_user_model(candidate.architecture) else "from scratch"


def choice_report(choice: NetworkChoice) -> StageReport:
    """Returns `choice` of `report.json` and the section on it."""
    data = {
        "choice": choice,
        "rows": [
            {"candidate": each, "how": describe_candidate(each)}
            for each in sorted(choice.candidates, key=_rank)
        ],
    }
    section = Section("choice", "Network", "network_choice/stage_report.html", data)
    return StageReport(summary={"choice": dataclasses.asdict(choice)}, sections=[section])


def _rank(candidate: CandidateResult) -> float:
    return math.inf if candidate.projected is None else candidate.projected
