"""Going back to the version of a view that was live before the last swap, as if it had been fed all the time.

Its tables and its position were kept; what has come since is in the log. So it catches up and is swapped in, by the code that
runs now: to go back behind a change of meaning, deploy the code of then first.
"""

import time

from adapters.sql import reading
from adapters.views.beside import OLD, Beside, Changed
from adapters.views.digest import Digest, digest
from adapters.views.exclusive import Exclusive
from adapters.views.folding import Folder, MakeParts, Parts, insist
from adapters.views.positions import Position, positions_of
from adapters.views.rebuild import BATCH_RECORDS, Rebuilt, swap_in


class NothingKept(LookupError):
    """No version was kept at the last swap, or it was retired."""


class KeptIsOlder(RuntimeError):
    """A migration has changed the view's tables since that version was kept: the code of today cannot write it."""


async def go_back(make: MakeParts, *, batch_records: int = BATCH_RECORDS, exclusive: Exclusive | None = None) -> Rebuilt:
    """Swap the kept version in; the one that was live is kept in its turn. Nothing is compared but what is reported.

    `exclusive` is that of a caller who has more to do under it. Raises NothingKept, KeptIsOlder, ViewTaken, and what a rebuild
    raises.
    """
    parts = make()
    engine, projection = parts.engine, parts.projection
    beside = Beside(engine, projection, OLD)
    with exclusive or Exclusive(engine, projection.name, "going back"):
        if not await insist(beside.exists):
            raise NothingKept(
                f"{projection.name} has no version to go back to: none was kept at the last swap, or it was retired"
            )
        try:
            await insist(beside.refuse_other_columns)
        except Changed as error:
            raise KeptIsOlder(f"the version before of {projection.name} does not fit any more: {error}") from None
        cut, live, kept = await insist(_before, parts)
        ends, began = {shard: position.next for shard, position in cut.items()}, time.monotonic()
        async with Folder(parts, batch_records, OLD) as folder:
            await folder.fold(ends)
            seconds = time.monotonic() - began
            before = await insist(_digest, parts)
            await swap_in(folder, beside, cut, keep=True)
    events = sum(ends.values()) - sum(kept.values())
    return Rebuilt(projection.name, ends, live, before, events, seconds, True)


def retire(make: MakeParts, *, exclusive: Exclusive | None = None) -> None:
    """Drop the kept version. Raises NothingKept, ViewTaken."""
    parts = make()
    beside = Beside(parts.engine, parts.projection, OLD)
    with exclusive or Exclusive(parts.engine, parts.projection.name, "retiring"):
        if not beside.exists():
            raise NothingKept(f"{parts.projection.name} has no version to retire")
        beside.drop()


def _before(parts: Parts) -> tuple[dict[str, Position], Digest, dict[str, int]]:
    """The live version's positions and digest, and how far the kept one is, at one moment."""
    name = parts.projection.name
    with reading(parts.engine) as connection:
        kept = {shard: position.next for shard, position in positions_of(connection, name + OLD).items()}
        return positions_of(connection, name), digest(connection, parts.projection), kept


def _digest(parts: Parts) -> Digest:
    with reading(parts.engine) as connection:
        return digest(connection, parts.projection, Beside(parts.engine, parts.projection, OLD).names)
