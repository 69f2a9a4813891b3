"""What the load generator sends, signed before it is asked for: standings, or the demo's requests."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import ed25519_signer, read_key
from contracts import EventId, event_id
from contracts.providers import NoteStanding
from ops.demo.replaying import models_asked_for
from ops.demo.router import Router
from ops.demo.trace import arrivals
from ops.fleet import fleet

SAMPLES_A_SECOND = 25
MACHINES = 200
"""The demo's."""
HEARD_SECONDS = 60.0


class Order(BaseModel):
    """What to send. Commands of the first `warming` seconds are sent and not told of."""

    client: dict[str, Any]
    partitions: int
    network: str
    keys: Path
    """The folder."""
    kind: Literal["standings", "requests"]
    rate: float
    warming: float
    seconds: float
    seed: int
    """Another one makes other commands."""
    observer: Path
    """The socket of whoever wants to see some of the rows: SAMPLES_A_SECOND at most."""
    results: Path

    @property
    def count(self) -> int:
        return round(self.rate * (self.warming + self.seconds))

    @property
    def sample_every(self) -> int:
        return max(1, round(self.rate / SAMPLES_A_SECOND))


def signed(order: Order) -> list[SignedCommand]:
    """On all cores: nothing is measured yet. Raises TimeoutError."""
    sign = partial(_standings, order) if order.kind == "standings" else partial(_requests, _followed(order))
    cores = os.cpu_count() or 1
    pieces = [range(start, order.count, cores) for start in range(cores)]
    # Forked, so that each has the router's table.
    with get_context("fork").Pool(cores, _keep, (sign,)) as pool:
        made = pool.map(_sign, pieces, chunksize=1)
    return [made[n % cores][n // cores] for n in range(order.count)]


_signing: Callable[[range], list[SignedCommand]]


def _keep(sign: Callable[[range], list[SignedCommand]]) -> None:
    global _signing
    _signing = sign


def _sign(numbers: range) -> list[SignedCommand]:
    return _signing(numbers)


def _standings(order: Order, numbers: range) -> list[SignedCommand]:
    """By nobody's devices: a standing may be noted before anybody registers."""
    signer, first = read_key(order.keys / "process.key"), order.seed << 32
    found = []
    for n in numbers:
        device = ed25519_signer((first + n).to_bytes(32)).did
        cause = EventId(event_id(device, "bench", 0))
        standing = NoteStanding(tier="pro", bonded=True, suspended=False, from_epoch=1, cause=cause)
        found.append(sign_command(standing, f"providers/provider/{device}", signer, order.network))
    return found


def _requests(router: Router, numbers: range) -> list[SignedCommand]:
    """The trace's, over and over, as the demo's router decides them; one that nobody can serve is left out for the next."""
    _, trace = arrivals(None, None)
    models, asked = models_asked_for(fleet(MACHINES)), islice(cycle(trace), numbers.start, None, numbers.step)
    return list(islice(_served(router, models, asked), len(numbers)))


def _served(router: Router, models: Iterator[str], asked: Iterator[Any]) -> Iterator[SignedCommand]:
    for model, arrival in zip(models, asked, strict=False):
        command, choice = router.open(model, arrival)
        if choice.refusal is None:
            yield command


def _followed(order: Order) -> Router:
    """A router that has heard of the fleet."""
    router = Router(read_key(order.keys / "router.key"), order.network, order.client, order.partitions)

    async def follow() -> None:
        following = asyncio.create_task(router.follow())
        try:
            async with asyncio.timeout(HEARD_SECONDS):
                while router.heard() < MACHINES * 9 // 10:  # noqa: ASYNC110  the table tells nobody
                    await asyncio.sleep(0.05)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(follow())
    return router


def names_of(load: Sequence[SignedCommand]) -> list[str]:
    """The last part of each command's subject: by it the row is found."""
    return [command.subject.rpartition("/")[2] for command in load]
