"""`spaceos kafka`: the local broker."""

from typing import Annotated

import typer

from ops.cli.output import SERVERS, Exit, Json, answer, say, working

kafka = typer.Typer(no_args_is_help=True, help="A local Kafka broker, without Docker.")


@kafka.command()
def start(
    as_json: Json = False,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long it may take to answer.")] = 60,
) -> None:
    """Start the broker, if it does not run, and wait until it answers."""
    from ops.local import kafka as local
    from ops.settings import Settings

    settings = Settings()
    fetches = "" if local.jars_are_here(settings.cache) else " (the first start on a machine fetches 43 MB)"
    with working(f"Starting Kafka{fetches}…"):
        address = local.start(settings.home, settings=settings, timeout_seconds=timeout_seconds)
    if as_json:
        answer({"state": "running", "address": address, "home": settings.home})
    else:
        say("Kafka answers at [bold]{}[/]", address)


@kafka.command()
def stop(as_json: Json = False) -> None:
    """Stop the broker; its data and its address are kept."""
    from ops.local import kafka as local
    from ops.settings import Settings

    home = Settings().home
    with working("Stopping Kafka…"):
        ran = local.stop(home)
    if as_json:
        answer({"state": "stopped", "ran": ran})
    else:
        say("Kafka is stopped" if ran else "Kafka did not run")


@kafka.command()
def status(as_json: Json = False) -> None:
    """Say whether the broker runs and answers. Exit code 1 if not."""
    from ops.local import kafka as local
    from ops.settings import Settings

    now = local.status(Settings().home)
    if as_json:
        answer({"state": now.state, "address": now.address, "pid": now.pid})
    else:
        say("Kafka is [bold]{}[/]{}", now.state, f" at {now.address}, pid {now.pid}" if now.pid else "")
    raise typer.Exit(Exit.OK if now.state == "running" else Exit.FOUND_WRONG)


@kafka.command()
def address(as_json: Json = False) -> None:
    """Print the address that clients use."""
    from ops.settings import Settings

    where = Settings().kafka_address()
    if as_json:
        answer({"address": where})
    else:
        print(where)


def register(app: typer.Typer) -> None:
    app.add_typer(kafka, name="kafka", rich_help_panel=SERVERS)
