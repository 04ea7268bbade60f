"""What `make run-local`, `make clean-local` and `make deploy` do; docs/install.md describes them.

Usage: python -m manifests run|clean|deploy [options]
"""

import argparse
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.shared.runtime.storage import upload
from manifests import installation, kind_cluster
from manifests.kubectl import NAMESPACE, ClusterError, Kubectl

_BUCKET = "s3://mlpipeline/kfp-vision"
_DATA = Path("data/fashion-mnist")
_OUTPUT = Path("out/run-local")


def _say(text: str) -> None:
    print(text, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo on a cluster; every step is left out that has been done.

    Returns:
        The exit code of `kfp-vision status --follow`.
    """
    local = not arguments.context
    kubectl = Kubectl(arguments.context or kind_cluster.CONTEXT)
    host, overlay = arguments.host, arguments.overlay
    if local:
        overlay = overlay or "kind"
        if overlay != "kind":
            raise ClusterError(
                f"The cluster of this machine takes the overlay kind. Received: {overlay}. "
                "Name the cluster that it is for: CONTEXT=..."
            )
        host = f"http://127.0.0.1:{_local_cluster(arguments.port)}"
    else:
        kind_cluster.check_tools("kubectl", *([] if host else ["git"]))
        # Before anything is installed.
        installation.read_overlay(kubectl, overlay)
        kubectl.check()
    if local or not host:
        new = installation.install_kfp(kubectl)
        _say(f"Kubeflow Pipelines {installation.KFP_VERSION}: {'installed' if new else 'is there'}")
    deploy(argparse.Namespace(context=kubectl.context, overlay=overlay))
    keys = installation.storage_secret(kubectl)
    if local:
        kind_cluster.load_image()
    installation.wait_until_ready(kubectl)
    with _url(kubectl, host, "ml-pipeline-ui", 80) as host:
        with _url(kubectl, arguments.store, "seaweedfs", 9000) as store:
            os.environ.update({**keys, "AWS_ENDPOINT_URL": store})
            upload(provide_fashion_mnist(_DATA), f"{_BUCKET}/fashion-mnist")
        _say(f"Data: {_BUCKET}/fashion-mnist")
        return _submit(host, arguments)


def _local_cluster(port: int) -> int:
    """Makes the cluster of this machine unless it is there; returns the port of its page."""
    # With git kubectl fetches the manifests of the server.
    kind_cluster.check_tools("docker", "git", "kind", "kubectl")
    if kind_cluster.exists():
        kind_cluster.check()
        of_page = kind_cluster.page_port()
        _say(f"Cluster {kind_cluster.CLUSTER}: is there, with its page at port {of_page}")
        if of_page != port:
            _say(
                f"  not at {port}: the port is that of its creation; `make clean-local` removes it"
            )
        return of_page
    kind_cluster.check_machine(port)
    _say(f"Cluster {kind_cluster.CLUSTER}: coming up")
    kind_cluster.create(port)
    return port


@contextlib.contextmanager
def _url(kubectl: Kubectl, given: str, service: str, port: int) -> Iterator[str]:
    if given:
        yield given
    else:
        with kubectl.forward(service, port) as url:
            yield url


def _submit(host: str, arguments: argparse.Namespace) -> int:
    """Starts the demo, follows it and brings its results; returns the exit code."""
    program = [str(Path(sys.executable).with_name("kfp-vision"))]
    server = ["--host", host]
    output = f"{_BUCKET}/results/fashion-mnist"
    options = ["--secret", installation.SECRET, "--service-account", "kfp-vision"]
    if arguments.registry:
        options += ["--registry", arguments.registry]
    uris = ["--dataset-uri", f"{_BUCKET}/fashion-mnist", "--output", output]
    answer = subprocess.run(
        [*program, "submit", *server, *options, *uris, *arguments.options, "--no-follow"],
        stdout=subprocess.PIPE,
        text=True,
    )
    print(answer.stdout, end="", flush=True)
    found = re.search(r"kfp-vision status (\S+)", answer.stdout)
    if answer.returncode or found is None:
        return answer.returncode or 2
    run_id = found[1]
    code = wait_for_exit(subprocess.Popen([*program, "status", run_id, *server, "--follow"]))
    if code in (0, 1):
        subprocess.run([*program, "fetch", run_id, *server, "--output", str(_OUTPUT)], check=True)
        _say(f"Report: {(_OUTPUT / 'report.html').resolve()}")
    _say(f"Page of the server: {host}")
    return code


def wait_for_exit(process: "subprocess.Popen[bytes]") -> int:
    """Returns the exit code; Ctrl-C reaches the process too, which says how to come back."""
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()


def deploy(arguments: argparse.Namespace) -> int:
    """Applies an overlay on top of the server of a cluster."""
    kubectl = Kubectl(arguments.context)
    missing = installation.apply_overlay(kubectl, arguments.overlay)
    _say(f"Manifests of {arguments.overlay}: applied")
    for each in missing:
        _say(f"  without {each}, which this server does not have in namespace {NAMESPACE}")
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """Removes the cluster of this machine."""
    kind_cluster.check_tools("docker", "kind")
    there = kind_cluster.exists()
    kind_cluster.delete()
    _say(f"Cluster {kind_cluster.CLUSTER}: {'removed' if there else 'there was none'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the commands and their options."""
    root = argparse.ArgumentParser(prog="python -m manifests", description=__doc__)
    commands = root.add_subparsers(required=True)
    command = commands.add_parser("run", help="run the demo on a cluster")
    command.add_argument("--context", default="", help="of another cluster than the one of kind")
    command.add_argument("--overlay", default="", help="kind without; needed with --context")
    command.add_argument("--host", default="", help="URL of its server or page")
    command.add_argument("--store", default="", help="URL of its object store")
    command.add_argument("--registry", default="", help="of the images, as in ghcr.io/team")
    command.add_argument("--port", type=int, default=8080, help="of the page of a new cluster")
    command.add_argument(
        "--options", type=shlex.split, default=[], help="of `kfp-vision submit`, in one argument"
    )
    command.set_defaults(function=run)
    command = commands.add_parser("deploy", help="apply an overlay")
    command.add_argument("overlay")
    command.add_argument("--context", default="", help="of the cluster; the current one without")
    command.set_defaults(function=deploy)
    commands.add_parser("clean", help="remove the cluster").set_defaults(function=clean)
    return root


def main() -> int:
    """Runs a command; what a person has to mend is a message without a traceback."""
    arguments = parser().parse_args()
    try:
        return int(arguments.function(arguments))
    except KeyboardInterrupt:
        print("make: stopped; the same command continues", file=sys.stderr)
        return 130
    except (ClusterError, OSError, ValueError, RuntimeError) as error:
        print(f"make: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
