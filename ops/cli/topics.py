"""`spaceos topics`: make them, look at them, say who may read and write them."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import SERVERS, Exit, Failure, Json, answer, hint, say, table, working

if TYPE_CHECKING:
    from adapters.kafka.acls import Compared, Rule
    from ops.compose import Deployment

topics = typer.Typer(no_args_is_help=True, help="The topics: their partitions and settings.")


@topics.command()
def create(as_json: Json = False) -> None:
    """Make the topics that are missing, and compare those that exist."""
    from adapters.kafka.topics import create_topics
    from ops.compose import deployment, topics_of_deployment

    found = deployment()
    settings = found.settings
    with working("Asking the broker…"):
        made = asyncio.run(
            create_topics(
                topics_of_deployment(found),
                settings.kafka_client_options("operator"),
                replicas=settings.replicas,
                min_insync_replicas=settings.min_insync_replicas,
            )
        )
    if as_json:
        answer({"created": made})
    else:
        say("{}", f"Made {len(made)} topics: {', '.join(made)}" if made else "All topics are there, with the right settings")


@topics.command("list")
def list_topics(as_json: Json = False) -> None:
    """Show the topics of this deployment as the broker has them."""
    from adapters.kafka.topics import describe_topics
    from ops.compose import deployment, topics_of_deployment

    found = deployment()
    names = [topic.name for topic in topics_of_deployment(found)]
    described = asyncio.run(describe_topics(names, found.settings.kafka_client_options("operator")))
    if as_json:
        answer({"topics": described, "missing": sorted(set(names) - described.keys())})
        return
    rows = [
        (name, described[name]["partitions"], described[name]["cleanup.policy"], described[name]["retention.ms"])
        for name in names
        if name in described
    ]
    table("Topics", ("topic", "partitions", "clean-up", "retention ms"), rows)
    if missing := sorted(set(names) - described.keys()):
        say("Missing: {}. Make them with: spaceos topics create", ", ".join(missing))


Of = Annotated[str | None, typer.Option(metavar="PRINCIPALS", help="User:name, with ; between several.")]


@topics.command()
def acls(
    apply: Annotated[bool, typer.Option("--apply", help="Set the rules that the broker lacks.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="With --apply: remove others on our topics and groups.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with the broker; exit code 1 if it differs.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Print arguments of Kafka's own kafka-acls.sh.")] = False,
    workers: Of = None,
    readers: Of = None,
    clients: Of = None,
    as_json: Json = False,
) -> None:
    """Say who may read and write which topic and group, and have the broker keep to it.

    Without --check or --apply no broker is asked. The principals are those of SPACEOS_KAFKA_WORKERS, _READERS and _CLIENTS.
    """
    from ops.compose import deployment
    from ops.doors import document_of, rows_of, rules_of_deployment

    if exact and not apply:
        raise Failure("--exact is for --apply", exit_code=Exit.USAGE)
    found = _with_principals(deployment("operator"), kafka_workers=workers, kafka_readers=readers, kafka_clients=clients)
    rules = rules_of_deployment(found)
    done = asyncio.run(_meet(found, apply=apply, exact=exact)) if check or apply else None
    if as_json:
        compared = {name: list(map(document_of, getattr(done, name))) for name in ("missing", "others")} if done else {}
        answer({"rules": list(map(document_of, rules)), "applied": apply, **compared})
    elif lines:
        # As they are, to be pasted.
        print("\n".join(rule.arguments() for rule in rules))
    else:
        table("Who may", ("what", "name", "read", "write"), rows_of(rules))
        if done is not None:
            _say_compared(done, apply=apply, exact=exact)
    if done is not None and ((done.others and not exact) or (done.missing and not apply)):
        raise typer.Exit(Exit.FOUND_WRONG)


def _with_principals(found: "Deployment", **given: str | None) -> "Deployment":
    from ops.compose import Deployment
    from ops.settings import Settings

    said = {name: value for name, value in given.items() if value is not None}
    # Made anew, so that what was said is held to the settings' rules.
    return Deployment(Settings(**{**found.settings.model_dump(exclude_unset=True), **said})) if said else found


async def _meet(found: "Deployment", *, apply: bool, exact: bool) -> "Compared":
    """What the broker lacked and had besides, and still does, unless it was to be mended."""
    from adapters.kafka.acls import add_rules, remove_rules
    from ops.doors import compared

    done, operator = await compared(found), found.settings.kafka_client_options("operator")
    if apply and done.missing:
        await add_rules(done.missing, operator)
    # Nobody is locked out in between.
    if apply and exact and done.others:
        await remove_rules(done.others, operator)
    return done


def _say_compared(done: "Compared", *, apply: bool, exact: bool) -> None:
    if not done.missing and not done.others:
        say("The broker has these rules, and no others on our topics and groups")
        return
    if done.missing:
        lacking = len(done.missing)
        if apply:
            say("Set {} rules that the broker lacked", lacking)
        else:
            say("The broker lacks {} of these rules; set them with: spaceos topics acls --apply", lacking)
    if done.others:
        _say_others(done.others, exact=exact)


def _say_others(others: "tuple[Rule, ...]", *, exact: bool) -> None:
    say("Removed {} other rules:" if exact else "The broker has {} other rules on our topics and groups:", len(others))
    for rule in others:
        say("  {}", rule.text)
    if not exact:
        hint("{}", "Whoever set them may have meant it; to remove them: spaceos topics acls --apply --exact")


def register(app: typer.Typer) -> None:
    app.add_typer(topics, name="topics", rich_help_panel=SERVERS)
