"""`spaceos postgres`: the local PostgreSQL server."""

from typing import Annotated

import typer

from ops.cli.output import SERVERS, Exit, Json, answer, hint, say, working

postgres = typer.Typer(no_args_is_help=True, help="A local PostgreSQL server, without Docker.")


@postgres.command()
def start(
    as_json: Json = False,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long it may take to answer.")] = 60,
) -> None:
    """Start the server, if it does not run, and wait until it answers."""
    from ops.local import postgres as local
    from ops.settings import Settings

    settings = Settings()
    with working("Starting PostgreSQL…"):
        local.start(settings.home, settings=settings, timeout_seconds=timeout_seconds)
    now = local.status(settings.home)
    if as_json:
        answer({"state": now.state, "address": now.address, "home": settings.home})
    else:
        say("PostgreSQL answers at [bold]{}[/]", now.address)
        hint("To keep the facts there: export SPACEOS_STORE=$(spaceos postgres address)")


@postgres.command()
def stop(as_json: Json = False) -> None:
    """Stop the server; its data and its address are kept."""
    from ops.local import postgres as local
    from ops.settings import Settings

    home = Settings().home
    with working("Stopping PostgreSQL…"):
        ran = local.stop(home)
    if as_json:
        answer({"state": "stopped", "ran": ran})
    else:
        say("PostgreSQL is stopped" if ran else "PostgreSQL did not run")


@postgres.command()
def status(as_json: Json = False) -> None:
    """Say whether the server runs and answers. Exit code 1 if not."""
    from ops.local import postgres as local
    from ops.settings import Settings

    now = local.status(Settings().home)
    if as_json:
        answer({"state": now.state, "address": now.address, "pid": now.pid})
    else:
        say("PostgreSQL is [bold]{}[/]{}", now.state, f" at {now.address}, pid {now.pid}" if now.pid else "")
    raise typer.Exit(Exit.OK if now.state == "running" else Exit.FOUND_WRONG)


@postgres.command()
def address(as_json: Json = False) -> None:
    """Print the URL of its database, password included: for SPACEOS_STORE and for psql."""
    from ops.local import postgres as local
    from ops.settings import Settings

    url = local.address(Settings().home).replace("+psycopg", "", 1)
    if as_json:
        answer({"address": url})
    else:
        print(url)


def register(app: typer.Typer) -> None:
    app.add_typer(postgres, name="postgres", rich_help_panel=SERVERS)
