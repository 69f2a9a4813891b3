"""`spaceos topics`: make them, look at them."""

import asyncio

import typer

from ops.cli.output import SERVERS, Json, answer, say, table, working

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
                settings.kafka_client_options(),
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
    described = asyncio.run(describe_topics(names, found.settings.kafka_client_options()))
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


def register(app: typer.Typer) -> None:
    app.add_typer(topics, name="topics", rich_help_panel=SERVERS)
