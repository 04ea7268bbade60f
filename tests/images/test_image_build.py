"""What the image is made of, whom it runs as, and what it does not hold."""

import json
import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from kfp_vision.components.shared.runtime.code_version import source_digest
from kfp_vision.components.shared.runtime.container_images import CPU_IMAGE
from kfp_vision.pipelines.local.processes import ENVIRONMENT

ROOT = Path(__file__).parents[2]
secrets = runpy.run_path(str(ROOT / "images/build.py"))["_secrets"]
TRIAL = "kfp-vision/trial:1"
SITE = "/opt/kfp-vision/lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def run(engine):
    """Runs a shell command in the image as Kubernetes' `restricted` and OpenShift would."""

    def shell(command, **options):
        output = engine.containers.run(
            CPU_IMAGE,
            ["sh", "-c", command],
            remove=True,
            user="1000670000:0",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            network_mode="none",
            tmpfs={"/tmp": "mode=1777"},
            stderr=True,
            **options,
        )
        return output.decode()

    return shell


def locked(name):
    lines = (ROOT / "images" / name).read_text().splitlines()
    return {line.split(" ")[0] for line in lines if "==" in line}


def normalized(requirement):
    name, release = requirement.split("==")
    return f"{re.sub('[-_.]+', '-', name)}=={release}"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_every_locked_file_has_a_hash_and_a_version_of_the_lock_of_development(target):
    lines = (ROOT / f"images/requirements-{target}.txt").read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert line.startswith("    --hash=sha256:") or following.startswith("    --hash=sha256:")
    everything = set((ROOT / "requirements.lock").read_text().splitlines())
    only_here = {each.split("==")[0] for each in locked(f"requirements-{target}.txt") - everything}
    assert all(name == "tensorflow-cpu" or name.startswith("nvidia-") for name in only_here)


def test_the_settings_of_the_host_become_secrets_that_only_the_builder_reads(tmp_path):
    found = list(secrets({"PIP_INDEX_URL": "https://me:word@host/", "PIP_CERT": "/ca"}, tmp_path))
    assert found == [
        f"--secret=id=pip.conf,src={tmp_path}/pip.conf",
        "--secret=id=ca-bundle,src=/ca",
    ]
    assert (tmp_path / "pip.conf").read_text() == "[global]\nindex-url = https://me:word@host/"
    assert (tmp_path / "pip.conf").stat().st_mode & 0o777 == 0o600
    assert list(secrets({}, tmp_path)) == []


@pytest.mark.docker
def test_the_packages_are_those_of_the_lock_and_the_code_is_this(run):
    found = run(
        "python -c 'import importlib.metadata as m;"
        ' print(*(f"{d.name.lower()}=={d.version}" for d in m.distributions()), sep="\\n")\''
    )
    installed = {normalized(line) for line in found.splitlines()}
    wanted = {normalized(line) for line in locked("requirements-cpu.txt")}
    (extra,) = installed - wanted
    assert extra.startswith("kfp-vision==")
    assert wanted <= installed
    module = "kfp_vision.components.shared.runtime.code_version"
    assert run(
        f"python -c 'from {module} import source_digest; print(source_digest())'"
    ).strip() == (source_digest())


@pytest.mark.docker
def test_any_user_can_run_a_stage_with_a_read_only_root(run):
    said = run(
        "id -u; grep CapEff /proc/self/status; touch /opt/kfp-vision/x 2>&1; stat -c %a%g /work;"
        " kfp-vision --version; python -c 'import kfp_vision.components.training.train'"
    )
    lines = said.splitlines()
    assert lines[:2] == ["1000670000", "CapEff:\t0000000000000000"]
    assert "Read-only file system" in lines[2]
    assert lines[3] == "7700"


@pytest.mark.docker
def test_work_is_writable_for_the_group_of_a_volume_and_for_any_user_of_group_0(engine):
    for user in ("65532:0", "1000670000:0"):
        engine.containers.run(CPU_IMAGE, ["touch", "/work/file"], remove=True, user=user)


@pytest.mark.docker
def test_nothing_that_only_builds_or_tests_is_left(run):
    said = run(
        "command -v gcc cc ld make git; ls /root/.cache /build 2>/dev/null;"
        f" ls -d {SITE}/pip {SITE}/pytest {SITE}/scipy/*/tests {SITE}/tensorflow/include"
        f" {SITE}/clang {SITE}/kfp_vision/tests 2>/dev/null;"
        " find / -xdev -name '*.whl' -not -path '/usr/*' 2>/dev/null; true"
    )
    assert said.split() == []


@pytest.mark.docker
def test_the_image_says_what_it_is_and_sets_what_launchers_set(engine):
    config = engine.images.get(CPU_IMAGE).attrs["Config"]
    assert config["User"] == "65532:0"
    assert config["Labels"]["kfp-vision.source-digest"] == source_digest()
    assert config["Labels"]["org.opencontainers.image.revision"]
    assert dict(each.split("=", 1) for each in config["Env"]).items() >= ENVIRONMENT.items()


@pytest.mark.docker
def test_no_layer_and_no_line_of_the_history_holds_a_secret(engine, tmp_path):
    """Builds the stage that installs anew, with a planted secret beside the real settings."""
    planted = "planted-a31f0c"
    settings, authorities = tmp_path / "pip.conf", tmp_path / "authorities.pem"
    real = {"pip.conf": "[global]\n", "ca-bundle": ""}
    for each in secrets(os.environ, tmp_path):
        name, file = each.removeprefix("--secret=id=").split(",src=")
        real[name] = Path(file).read_text()
    settings.write_text(f"# {planted}\n{real['pip.conf']}")
    command = ["docker", "build", "--file", "images/Dockerfile", "--target", "installer"]
    command += ["--no-cache", "--tag", TRIAL, f"--secret=id=pip.conf,src={settings}"]
    if real["ca-bundle"]:
        authorities.write_text(f"# {planted}\n{real['ca-bundle']}")
        command += [f"--secret=id=ca-bundle,src={authorities}"]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    subprocess.run([*command, "."], check=True, cwd=ROOT, env=environment, capture_output=True)
    try:
        image = engine.images.get(TRIAL)
        assert planted not in json.dumps([image.history(), image.attrs])
        before = b""
        for block in image.save():  # The layers, not compressed.
            assert planted.encode() not in before + block
            before = block[-len(planted) :]
    finally:
        engine.images.remove(TRIAL)


@pytest.mark.docker
def test_the_history_of_the_image_has_no_settings_of_this_machine(engine):
    history = json.dumps(engine.images.get(CPU_IMAGE).history())
    values = [
        value for name, value in os.environ.items() if name.startswith("PIP_") and "/" in value
    ]
    assert [value for value in values if value in history] == []
