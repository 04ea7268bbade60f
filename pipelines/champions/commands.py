"""The commands for a folder of champions: `champions`, `promote`, `rollback`, `register`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from kfp_vision.components.shared.champions.history import Champions

__all__ = ["add_commands"]

_Uri = Annotated[
    str, typer.Argument(metavar="CHAMPION_URI", help="Folder of champions; local, gs:// or s3://.")
]
_UriOption = Annotated[
    str, typer.Option("--champion-uri", help="Folder of champions; local, gs:// or s3://.")
]
_Reason = Annotated[str, typer.Option(help="One sentence for the history.")]
_WORDS = {
    **{"promoted": "promoted", "kept": "kept as a challenger", "rolled_back": "rolled back"},
    "overtaken": "kept, to be compared again",
}


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(name="champions")(_list)
    app.command(name="promote")(_promote)
    app.command(name="rollback")(_roll_back)
    app.command(name="register")(_register)


def _list(
    champion_uri: _Uri,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Show the champion, and what has happened to each version, the newest first."""
    from kfp_vision.components.shared.champions.store import read_champions

    champions = read_champions(champion_uri)
    if as_json:
        print(champions.to_json().decode(), end="")
        return
    table = Table()
    for name in ("time, UTC", "version", "", "metric", "reason"):
        table.add_column(name, overflow="fold")
    for entry in reversed(champions.history):
        is_champion = entry.version == champions.champion
        table.add_row(
            entry.at[:19].replace("T", " "),
            escape(entry.version) + (" *" if is_champion else ""),
            _WORDS[entry.kind],
            _metric(champion_uri, entry.version),
            escape(entry.reason),
        )
    console = Console()
    if champions.history:
        console.print(table)
    _say_champion(champions, champion_uri)


def _promote(
    version: Annotated[str, typer.Argument(help="As `champions` shows it.")],
    champion_uri: _UriOption,
    reason: _Reason = "By hand.",
) -> None:
    """Make a version the champion, whatever its comparison says."""
    from kfp_vision.components.shared.champions.store import promote

    _say_champion(promote(champion_uri, version, reason), champion_uri)


def _roll_back(champion_uri: _UriOption, reason: _Reason = "By hand.") -> None:
    """Make the champion before this one the champion again."""
    from kfp_vision.components.shared.champions.store import roll_back

    _say_champion(roll_back(champion_uri, reason), champion_uri)


def _register(
    champion_uri: _UriOption,
    registry: Annotated[str, typer.Option(help="URL of a Kubeflow Model Registry.")],
    name: Annotated[str, typer.Option(help="Of the registered model.")],
    version: Annotated[str, typer.Argument(help="Without it the champion.")] = "",
) -> None:
    """Write a version with its lineage to a Kubeflow Model Registry, or bring it up to date."""
    from kfp_vision.pipelines.champions.registry import register_version

    written = register_version(champion_uri, version, registry, name)
    print(f"{name} {written} is in {registry}.")


def _metric(uri: str, version: str) -> str:
    from kfp_vision.components.shared.champions.store import read_lineage

    try:
        lineage = read_lineage(uri, version)
    except ValueError:
        return "version removed"
    score = lineage.metrics.get(lineage.primary)
    return f"{lineage.primary} {score['value']:.4f}" if score else ""


def _say_champion(champions: "Champions", uri: str) -> None:
    if not champions.champion:
        print(f"There is no champion in {uri}.")
        return
    from kfp_vision.components.shared.champions.store import version_uri

    print(f"The champion is {champions.champion}: {version_uri(uri, champions.champion)}")
