"""`spaceos replay`: what was true then, what has changed since and why, and what would have been true otherwise."""

import typer

from ops.cli.output import AUDIT
from ops.cli.replay import otherwise, states, window
from ops.cli.replay.asking import LogKey, LogUrl, Origin, Verify, told

__all__ = ["LogKey", "LogUrl", "Origin", "Verify", "register", "told"]

replay = typer.Typer(no_args_is_help=True, help="What was true then, what has changed since, what would have been otherwise.")


def register(app: typer.Typer) -> None:
    states.register(replay)
    otherwise.register(replay)
    window.register(replay)
    app.add_typer(replay, name="replay", rich_help_panel=AUDIT)
