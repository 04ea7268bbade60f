"""The gate behind the profile: what was found stops the pipeline, unless the user accepts it."""

from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.data_profiling.findings import not_accepted
from kfp_vision.components.shared.artifacts.data_profile import Profile
from kfp_vision.components.shared.artifacts.json_files import read_json

__all__ = ["check_findings"]


def check_findings(profile_dir: Path, accept: Sequence[str]) -> None:
    """Returns when nothing that was found stops the pipeline.

    Args:
        profile_dir: A folder that `profile_images` wrote.
        accept: Codes of findings that the user lives with.

    Raises:
        ValueError: There is a `fail` finding that is not accepted, or that cannot be.
    """
    profile = read_json(Profile, profile_dir / "profile.json")
    stopping = not_accepted(profile.findings, accept)
    if not stopping:
        return
    lines = "\n".join(
        f"  {found.code}{'' if found.acceptable else ' (cannot be accepted)'}: {found.text}"
        for found in stopping
    )
    remedy = "Correct the data."
    if all(found.acceptable for found in stopping):
        codes = ",".join([*accept, *(found.code for found in stopping)])
        remedy = f"Correct the data, or accept what was found with `--accept-findings {codes}`."
    raise ValueError(
        "The data must have no finding of level `fail` before training. Received: "
        f"{len(stopping)}\n{lines}\n{remedy} Examples: {profile_dir / 'profile.html'}"
    )
