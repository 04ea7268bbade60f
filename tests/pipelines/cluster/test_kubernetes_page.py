"""What docs/kubernetes.md says is what the code has."""

import dataclasses
import re
from pathlib import Path

from kfp_vision.pipelines.cluster.placement import SECRET_KEYS
from kfp_vision.pipelines.cluster.profile import PROFILES, GpuPool, Pool, Profile
from kfp_vision.pipelines.resources import RUN_HOURS, STAGES, TTL_HOURS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "kubernetes.md").read_text(encoding="utf-8")


def test_its_table_is_that_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| ([cg]pu) \|(.+)\|$", PAGE, re.MULTILINE)
    shown = {name: [target, *map(float, cells.split("|"))] for name, target, cells in rows}
    assert shown == {name: [*dataclasses.astuple(line)] for name, line in STAGES.items()}
    assert f"may take {RUN_HOURS} hours" in PAGE
    assert f"logs {TTL_HOURS} hours" in PAGE


def test_it_names_every_field_of_a_profile_and_no_unknown_key():
    fields = {field.name for kind in (Profile, Pool, GpuPool) for field in dataclasses.fields(kind)}
    assert fields <= set(re.findall(r"`(\w+)`", PAGE))
    assert set(re.findall(r"AWS_\w+", PAGE)) <= set(SECRET_KEYS)
    assert all(f"`{name}`" in PAGE for name in PROFILES)


def test_its_links_lead_somewhere():
    assert all((DOCS / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", PAGE))
    assert max(map(len, PAGE.splitlines())) <= 120
