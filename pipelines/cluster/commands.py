"""The commands for a Kubeflow Pipelines server: `submit`, `status`, `cancel` and `fetch`."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kfp_vision.pipelines.local.processes import Stopped
from kfp_vision.pipelines.options import (
    PARAMETERS,
    ParameterFile,
    given_options,
    with_parameter_options,
)
from kfp_vision.pipelines.parameter_file import read_parameters

if TYPE_CHECKING:
    from kfp_vision.pipelines.cluster.profile import Profile

__all__ = [
    "CaCert",
    "ClusterProfile",
    "Host",
    "Namespace",
    "Registry",
    "Secret",
    "add_commands",
    "profile_of",
]

Host = Annotated[
    str,
    typer.Option(
        help="URL of the server or its UI; without it KF_PIPELINES_ENDPOINT, this cluster or the "
        "kube context.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str, typer.Option(help="Yours, on a server that several users share.", show_default=False)
]
CaCert = Annotated[
    str,
    typer.Option(help="File of the server's certificate authority.", show_default=False),
]
ClusterProfile = Annotated[
    str | None,
    typer.Option(help="The cluster: gke, eks, aks, local (the default) or a YAML file."),
]
Registry = Annotated[
    str | None, typer.Option(help="Host and path of the images, as in ghcr.io/team.")
]
Secret = Annotated[
    str | None, typer.Option(help="Kubernetes secret with the access to the storage.")
]
_RunId = Annotated[str, typer.Argument(metavar="RUN", help="ID of the run, as `submit` prints it.")]


def profile_of(profile: str | None, registry: str | None, secret: str | None) -> "Profile":
    """Returns the profile that the three options describe."""
    from kfp_vision.pipelines.cluster.profile import read_profile

    changes = given_options({"registry": registry, "secret": secret})
    return read_profile(profile or "local", changes)


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    for command in (submit, status, cancel, fetch):
        app.command()(command)


@with_parameter_options(*PARAMETERS)
def submit(
    params: ParameterFile = None,
    host: Host = "",
    namespace: Namespace = "",
    ca_cert: CaCert = "",
    profile: ClusterProfile = None,
    registry: Registry = None,
    secret: Secret = None,
    version: Annotated[
        str, typer.Option(help="A published version of the pipeline, instead of compiling one.")
    ] = "",
    experiment: Annotated[str, typer.Option(help="That the run belongs to.")] = "kfp-vision",
    service_account: Annotated[
        str | None, typer.Option(help="Of the pods; without it that of the profile.")
    ] = None,
    pipeline_root: Annotated[
        str, typer.Option(help="Bucket for artifacts; without it that of the server.")
    ] = "",
    checkpoint_uri: Annotated[
        str, typer.Option(help="Folder for checkpoints; without it OUTPUT/checkpoints.")
    ] = "",
    follow: Annotated[bool, typer.Option(help="Show the run until it ends.")] = True,
    **options: Any,
) -> None:
    """Start a run on a Kubeflow Pipelines server, with the parameters of `run`, and follow it.

    The data and --output must be in a bucket. Ctrl-C leaves the run alone: `status` comes back to
    it, `cancel` ends it.

    Exit codes: 0 the model passed, 1 it is rejected, 2 anything else has failed, 128 + N signal N
    stopped this command.
    """
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.cluster.runs import run_page
    from kfp_vision.pipelines.cluster.submission import (
        Submission,
        check_version,
        make_arguments,
        start_run,
    )

    parameters = read_parameters(params, given_options(options))
    compiled = given_options({"profile": profile, "registry": registry, "secret": secret})
    check_version(version, parameters, compiled)
    cluster = profile_of(profile, registry, secret)
    # What is mounted in a published version, the server knows.
    mounted = bool(version or cluster.workspace)
    arguments = make_arguments(parameters, checkpoint_uri, mounted)
    account = cluster.service_account if service_account is None else service_account
    submission = Submission(arguments, cluster, version, experiment, account, pipeline_root)
    client = connect(host, namespace, ca_cert)
    run_id, published = start_run(client, submission)
    console = Console()
    for name, value in (
        ("Run", run_page(client, run_id)),
        ("Version", published.name),
        ("Status", _command("status", run_id, host, namespace, ca_cert)),
        ("Cancel", _command("cancel", run_id, host, namespace, ca_cert)),
    ):
        console.print(f"{name:<8} {value}", markup=False, highlight=False, soft_wrap=True)
    if follow:
        _follow(run_id, host, namespace, ca_cert)


def status(
    run_id: _RunId,
    host: Host = "",
    namespace: Namespace = "",
    ca_cert: CaCert = "",
    follow: Annotated[bool, typer.Option(help="Show the run until it ends.")] = False,
    log: Annotated[
        str, typer.Option(metavar="STAGE", help="Print the log of a stage, and nothing else.")
    ] = "",
) -> None:
    """Show how far a run on a server is, or how it has ended.

    Exit codes: 0 the run goes on or the model passed, 1 it is rejected, 2 anything else.
    """
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.cluster.ending import print_ending
    from kfp_vision.pipelines.cluster.overview import print_log, print_stages
    from kfp_vision.pipelines.cluster.runs import read_run

    if follow and log:
        raise ValueError(
            "A run is followed, or the log of a stage printed. Received: `--follow` and `--log "
            f"{log}`. Leave one of the two out."
        )
    if follow:
        _follow(run_id, host, namespace, ca_cert)
        return
    client = connect(host, namespace, ca_cert)
    run = read_run(client, run_id)
    if log:
        print_log(client, run, log)
        return
    console = Console()
    print_stages(client, run, console)
    if run.ended:
        command = _command("status", run_id, host, namespace, ca_cert)
        raise typer.Exit(print_ending(client, run, command, console))


def cancel(
    run_id: _RunId, host: Host = "", namespace: Namespace = "", ca_cert: CaCert = ""
) -> None:
    """End a run on a server; its checkpoints stay."""
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.cluster.runs import read_run

    client = connect(host, namespace, ca_cert)
    run = read_run(client, run_id)
    if run.ended:
        raise ValueError(
            f"Only a run that goes on can be canceled. Received: {run_id}, which has "
            f"ended ({run.state.lower()})."
        )
    client.terminate_run(run_id)
    print(f"{run.name} is canceled.")


def fetch(
    run_id: _RunId,
    output: Annotated[str, typer.Option(help="Local folder for report, recipe and models.")],
    host: Host = "",
    namespace: Namespace = "",
    ca_cert: CaCert = "",
) -> None:
    """Bring the results of a run on a server to this machine."""
    from kfp_vision.pipelines.cluster.connection import connect
    from kfp_vision.pipelines.cluster.results import fetch_results
    from kfp_vision.pipelines.cluster.runs import read_run

    client = connect(host, namespace, ca_cert)
    for path in fetch_results(client, read_run(client, run_id), output):
        print(path)


def _follow(run_id: str, host: str, namespace: str, ca_cert: str) -> None:
    """Shows a run until its end, and ends this command with the exit code for it."""
    from kfp_vision.pipelines.cluster.connection import BackendError, connect
    from kfp_vision.pipelines.cluster.ending import UNFINISHED, print_ending
    from kfp_vision.pipelines.cluster.following import StuckError, follow_run

    def again(command: str) -> str:
        return _command(command, run_id, host, namespace, ca_cert)

    def reconnect() -> Any:
        return connect(host, namespace, ca_cert)

    leaves = f"The run goes on. To see it again: {again('status')} --follow\n"
    leaves += f"To end it: {again('cancel')}"
    console, client = Console(), reconnect()
    try:
        run = follow_run(client, reconnect, run_id, console)
    except (BackendError, StuckError) as error:
        console.print(f"\n{error}", style="red", markup=False, highlight=False, soft_wrap=True)
        console.print(leaves, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(UNFINISHED) from error
    except Stopped as stop:
        console.print(f"\n{leaves}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(128 + stop.number) from stop
    raise typer.Exit(print_ending(reconnect(), run, again("status"), console))


def _command(name: str, run_id: str, host: str, namespace: str, ca_cert: str) -> str:
    """Returns a command line for a run, with the options that were given to this one."""
    options = {"--host": host, "--namespace": namespace, "--ca-cert": ca_cert}
    given = [each for option, value in options.items() if value for each in (option, value)]
    return shlex.join(["kfp-vision", name, run_id, *given])
