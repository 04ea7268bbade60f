"""What docs/install.md says is what manifests, profiles and programs have."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests_cluster import stock_objects

from kfp_vision.pipelines.cluster.profile import PROFILES, read_profile
from kfp_vision.pipelines.resources import STAGES
from manifests import installation, kind_cluster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
OVERLAYS = sorted(path.name for path in (ROOT / "manifests" / "overlays").iterdir())


@pytest.mark.parametrize("name", [name for name in PROFILES if read_profile(name).gpu])
def test_its_pools_are_those_of_the_profiles(name):
    (row,) = re.findall(rf"^\| `{name}` \| `(\S+)=(\S+)` \| (.+?) \|", PAGE, re.MULTILINE)
    label, value, taints = row
    gpu = read_profile(name).gpu
    assert gpu is not None
    assert gpu.node_selector == {label: value}
    assert re.findall(r"`(\S+?)`", taints) == [each.key for each in gpu.tolerations]
    assert read_profile(name).cpu.avoid_labels == [label]


def test_its_smallest_machine_holds_every_stage():
    largest = max(STAGES.values(), key=lambda stage: (stage.cpus, stage.memory_gib))
    assert f"{largest.cpus:g} CPUs, {largest.memory_gib:g} GiB" in PAGE


def test_it_names_every_overlay_and_the_versions():
    assert set(OVERLAYS) <= set(re.findall(r"\w+", PAGE))
    assert f"Kubeflow Pipelines {installation.KFP_VERSION}" in PAGE
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"kfp=={installation.KFP_VERSION}"' in project


def test_its_needs_are_those_that_the_program_checks():
    profile = read_profile("local")
    stages = [profile.resources(stage) for stage in STAGES]
    memory = kind_cluster.SERVER_GIB + max(stage.memory_gib for stage in stages)
    assert f"{memory:g} GiB of memory" in PAGE
    cpus = kind_cluster.SERVER_CPUS + max(stage.cpus for stage in stages)
    assert f"{math.ceil(cpus)} CPUs for the Docker engine" in PAGE


def test_its_step_before_is_for_every_object_of_the_server_in_an_overlay():
    """The overlay kind also changes a deployment, on the cluster that `run-local` has made."""
    (step,) = re.findall(r"kubectl annotate -n kubeflow (.*?) kubectl\.", PAGE, re.DOTALL)
    named = set(step.replace("\\", "").split())
    stock = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in stock_objects()}
    assert named == stock - {"deployment/workflow-controller"}


def test_its_settings_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\nrun-local:")[2].partition("\n\n")[0]
    settings = set(re.findall(r"\| `([A-Z]+)=", PAGE)) | set(re.findall(r"`([A-Z]+)=URL`", PAGE))
    assert settings == set(re.findall(r"\$\(([A-Z]+)\)", recipe)) - {"INSTALLED", "BIN"}


def test_removing_by_label_names_every_kind_that_is_ours(tmp_path):
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("There is no kubectl on the PATH (Debian: kubernetes-client).")
    command = [program, "kustomize", str(ROOT / "manifests" / "overlays" / "kind")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    (listed,) = re.findall(r"kubectl delete -n kubeflow\s+(\S+)\s+-l", PAGE)
    ours = {
        each["kind"].lower().replace("persistentvolumeclaim", "pvc")
        for each in yaml.safe_load_all(answer.stdout)
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "kfp-vision"
    }
    assert set(listed.split(",")) == ours


def test_its_links_lead_somewhere_and_no_line_is_long():
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert all((ROOT / "docs" / link).exists() for link in links)
    text = [line for line in PAGE.splitlines() if not line.startswith("|")]
    assert max(map(len, text)) <= 120
