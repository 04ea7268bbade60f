"""Builds what the tests of manifests start: `make kubernetes`, once on a machine.

kube-apiserver and kube-scheduler come from the Go module of Kubernetes that go.mod names (about 12
minutes of processor time and 2 GB of Go's caches), the resources of Kueue from its module. What is
there already is kept. Usage: python tests/kubernetes_programs/build.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(
    os.environ.get("KFP_VISION_KUBERNETES", Path.home() / ".cache" / "kfp-vision-k8s")
).expanduser()
PROGRAMS = ("kube-apiserver", "kube-scheduler")
KUEUE = "sigs.k8s.io/kueue@v0.17.0"
_KUBERNETES = "k8s.io/kubernetes"
_HERE = Path(__file__).parent


def _go(*arguments: str, **environment: str) -> str:
    answer = subprocess.run(
        ["go", *arguments],
        cwd=_HERE,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if answer.returncode:
        raise RuntimeError(f"`go {' '.join(arguments[:2])}` must succeed: its message is above.")
    return answer.stdout


def _build(program: str, path: Path) -> None:
    """Builds a program of Kubernetes; the module alone does not tell it its version."""
    version = _go("list", "-m", "-f", "{{.Version}}", _KUBERNETES).strip()
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = [
        f"-X k8s.io/{package}/version.{name}={value}"
        for package in ("component-base", "client-go/pkg")
        for name, value in values.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{program}.new")
    source = f"{_KUBERNETES}/cmd/{program}"
    options = ("-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *flags]))
    _go("build", *options, "-o", str(new), source, CGO_ENABLED="0")
    new.replace(path)


def _copy_kueue(folder: Path) -> None:
    module = json.loads(_go("mod", "download", "-json", KUEUE, GOFLAGS="-mod=mod"))
    source = Path(module["Dir"]) / "config" / "components" / "crd" / "bases"
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, folder, copy_function=shutil.copyfile)


def main() -> None:
    """Builds what is missing."""
    if shutil.which("go") is None:
        sys.exit("Go must be on the PATH (https://go.dev/dl). Received: no `go`.")
    for program in PROGRAMS:
        path = FOLDER / "bin" / program
        if not path.exists():
            print(f"building {path}", flush=True)
            _build(program, path)
    resources = kueue_resources()
    if not resources.exists():
        print(f"copying {resources}", flush=True)
        _copy_kueue(resources)


def kueue_resources() -> Path:
    """Returns the folder of Kueue's resource definitions."""
    return FOLDER / KUEUE.rpartition("/")[2]


if __name__ == "__main__":
    main()
