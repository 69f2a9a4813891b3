"""What the commands of `spaceos replay` share: their options, and how the log is opened and errors are told."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from ops.cli.output import Exit, Failure, working

if TYPE_CHECKING:
    from contracts import Command
    from ops.compose import Deployment
    from ops.replay.opening import Reading

T = TypeVar("T")

At = Annotated[str, typer.Option("--at", help="now, a time, checkpoint:N, an event's id, or shard=next,shard=next.")]
From = Annotated[str, typer.Option("--from", help="A position, as for --at; `start` is before the first record.")]
To = Annotated[str, typer.Option("--to", help="A later position.")]
Verify = Annotated[bool, typer.Option("--verify", help="Every signature, and at a checkpoint that it covers each record.")]
Origin = Annotated[Literal["kafka", "log"], typer.Option("--source", help="Kafka's topics, or the audit log's entries.")]
LogUrl = Annotated[str | None, typer.Option("--log", help="The audit log's database, if the settings do not say it.")]
LogKey = Annotated[str | None, typer.Option("--log-key", help="The audit log's verifier key, for --verify at a checkpoint.")]
Limit = Annotated[int, typer.Option(min=0, max=1_000_000, help="So many rows of each table at most.")]
Record = Annotated[str | None, typer.Option("--record", metavar="KEY", help="The key that signs that this was run.")]
Projected = Annotated[str, typer.Argument(metavar="NAME", help="A projection.")]


def read(
    source: Literal["kafka", "log"],
    log: str | None,
    log_key: str | None,
    verify: bool,
    ask: "Callable[[Reading], Coroutine[Any, Any, T]]",
) -> T:
    """Open, ask, close; what an analyst may have got wrong becomes a sentence."""
    from ops.compose import deployment
    from ops.replay.opening import Asked, reading_from

    async def run() -> T:
        async with reading_from(deployment("operator"), Asked(source, log, verify, log_key)) as opened:
            return await ask(opened)

    with told(), working("Reading the log…"):
        return asyncio.run(run())


@contextmanager
def told() -> Iterator[None]:
    """Errors of the asker, and of the log, as what they are."""
    from adapters.replay.cuts import BadPosition
    from adapters.replay.sources import RangeMissing
    from adapters.replay.streams import NoSuchStream
    from adapters.replay.verifying import NotGenuine
    from adapters.views import ChainBroken
    from ops.replay.evidence import TooMuch
    from ops.replay.registry import UnknownWhatIf
    from ops.replay.windows import GroupIsLive, NoSuchFunction

    try:
        yield
    except (BadPosition, NoSuchStream, TooMuch, UnknownWhatIf, GroupIsLive, NoSuchFunction) as error:
        raise Failure(str(error), exit_code=Exit.USAGE) from None
    except RangeMissing as error:
        raise Failure(str(error), "nothing was concluded from what is missing") from None
    except (NotGenuine, ChainBroken) as error:
        raise Failure(str(error), "do not rely on this log before you know who wrote there") from None


def recorded_as(found: "Deployment", key: str, command: "Command", subject: str) -> str:
    """The id of the event; an error of the key or a refusal as a sentence."""
    from ops.cli.key import find_key
    from ops.replay.recording import record

    return record(found, find_key(found.settings.keys, key), command, subject)
