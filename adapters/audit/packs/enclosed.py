"""What others hand to a pack: commands with their outcomes, opened fields, the verifier, and who reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from adapters.sealing import Opened
from adapters.sql import reading
from adapters.sql.tables import commands

PAGE = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """A command and its outcome as the event store keeps them; an acceptance names events, which are signed, and is not."""

    value: bytes
    signature: str
    outcome: bytes
    outcome_signature: str | None = None


Identity = tuple[str, str]
"""A command's source and id."""

KeptCommands = Callable[[Sequence[Identity]], Mapping[Identity, Kept]]
"""Those of the commands that are kept; asked with up to 500 at a time."""

Openings = Callable[[Mapping[str, Any]], Iterable[tuple[str, str, Opened | None]]]
"""Of an event's document each sealed field that the reader may open: its JSON pointer, its key, what it says.

None: the key is gone. A field that is not named is withheld: its key exists, and the reader is not entitled."""


@dataclass(frozen=True)
class Enclosed:
    """All that is not the log's. What is left out makes a pack say less, or a verifier call it inconclusive."""

    verifier: bytes = b""
    """The standalone verifier, byte for byte."""
    commands: KeptCommands | None = None
    openings: Openings | None = None
    reader: str | None = None
    """The DID of whoever asked for it."""
    note: str | None = None
    """The signed head to prove against, with cosignatures where there are any. Without: the newest."""
    since: int | None = None
    """The size of a head that the reader holds: that it is the beginning of this one is proved too."""


def commands_in(store: Engine) -> KeptCommands:
    """Of the event store."""

    def kept(identities: Sequence[Identity]) -> Mapping[Identity, Kept]:
        names = {f"{name} {source}": (source, name) for source, name in identities}
        with reading(store) as connection:
            rows = connection.execute(select(commands).where(commands.c.identity.in_(names))).all()
        return {
            names[row.identity]: Kept(bytes(row.command), row.signature, bytes(row.outcome), row.outcome_signature)
            for row in rows
        }

    return kept
