"""Going back to the version of a view that was live before the last swap, as if it had been fed all the time.

Its tables and its position were kept; what has come since is in the log. So it catches up and is swapped in, by the code that
runs now: to go back behind a change of meaning, deploy the code of then first.
"""

import asyncio
import time

from adapters.sql import reading
from adapters.views.beside import OLD, Beside
from adapters.views.digest import digest
from adapters.views.folding import Folder, MakeParts
from adapters.views.positions import positions_of
from adapters.views.rebuild import BATCH_RECORDS, Rebuilt, swap_in


class NothingKept(LookupError):
    """No version was kept at the last swap, or it was retired."""


async def go_back(make: MakeParts, *, batch_records: int = BATCH_RECORDS) -> Rebuilt:
    """Swap the kept version in; the one that was live is kept in its turn. Nothing is compared but what is reported.

    Raises NothingKept, and what a rebuild raises.
    """
    parts = make()
    engine, projection = parts.engine, parts.projection
    beside = Beside(engine, projection, OLD)
    if not await asyncio.to_thread(beside.exists):
        raise NothingKept(f"{projection.name} has no version to go back to: none was kept at the last swap, or it was retired")
    with reading(engine) as connection:
        cut, live = positions_of(connection, projection.name), digest(connection, projection)
        kept = {shard: position.next for shard, position in positions_of(connection, beside.reader).items()}
    ends, began = {shard: position.next for shard, position in cut.items()}, time.monotonic()
    async with Folder(parts, batch_records, OLD) as folder:
        folder.claim(folder.shards)
        await folder.fold(ends)
        seconds = time.monotonic() - began
        with reading(engine) as connection:
            before = digest(connection, projection, beside.names)
        await swap_in(folder, beside, cut, keep=True)
    events = sum(ends.values()) - sum(kept.values())
    return Rebuilt(projection.name, ends, live, before, events, seconds, True)


def retire(make: MakeParts) -> None:
    """Drop the kept version. Raises NothingKept."""
    parts = make()
    beside = Beside(parts.engine, parts.projection, OLD)
    if not beside.exists():
        raise NothingKept(f"{parts.projection.name} has no version to retire")
    beside.drop()
