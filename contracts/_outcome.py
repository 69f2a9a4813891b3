"""What became of a command: a record on `<context>.outcomes`, stored with the command and repeated if it returns.

An acceptance names the events, which are signed; a refusal is signed by the writer, since nothing else records it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import Field

from contracts._language import Value
from contracts._record import dataschema
from contracts._values import Count

Outcome = Literal["Accepted", "Refused"]


class EventPosition(Value):
    """Where an event of the command is."""

    shard: str
    sequence: Count
    id: str
    streamversion: Count


class AuthorityPosition(Value):
    """An event of `identity` on which the decision relied."""

    shard: str
    sequence: Count


class RefusalReason(Value):
    """Why not: the state that forbids, a sentence, and the field where one is to blame."""

    name: str
    text: str = Field(max_length=1000)
    field: str | None = None


class Accepted(Value):
    """`data` of `<context>.Accepted`."""

    commandhash: str
    events: tuple[EventPosition, ...]
    time: str
    authority: tuple[AuthorityPosition, ...]


class Rejected(Value):
    """`data` of `<context>.Refused`."""

    commandhash: str
    refusal: RefusalReason
    time: str
    authority: tuple[AuthorityPosition, ...] = ()
    claimed: str | None = None
    """`<source> <id>` as a record claimed them whose signature or place did not bear it out."""


def encode_outcome(
    name: Outcome,
    data: dict[str, Any],
    *,
    id: str,
    source: str,
    context: str,
    subject: str,
    time: str,
    network: str,
    correlationid: str,
    causationid: str,
    partition: int,
    sequence: int,
    actor: str,
) -> bytes:
    """The value of an outcome record. `data` has the shape of Accepted or Rejected."""
    kind = f"{context}.{name}"
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": kind,
            "subject": subject,
            "time": time,
            "dataschema": dataschema(kind),
            "network": network,
            "correlationid": correlationid,
            "causationid": causationid,
            "shard": f"{context}.outcomes/{partition}",
            "sequence": f"{sequence:020d}",
            "actor": actor,
            "data": data,
        }
    )


def authority_positions(positions: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """As they stand in an outcome's data."""
    return [{"shard": shard, "sequence": sequence} for shard, sequence in positions]
