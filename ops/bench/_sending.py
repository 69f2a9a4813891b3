"""The load generator, a process of its own: signs its commands beforehand, sends them in Poisson's rhythm, says when.

`python -m ops.bench._sending` reads an `Order` as a line of JSON, answers `{"ready": <commands>}`, waits for a second line,
and writes what it saw into the order's file. It waits for no answer, so a slow deployment does not slow down the load.
"""

import asyncio
import gc
import random
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import uvloop
from pydantic import BaseModel

from adapters.kafka.commands import CommandSender, SignedCommand
from ops.bench._observing import address
from ops.bench._signing import Order, names_of, signed


class Sent(BaseModel):
    """What the generator saw; times are Unix time in seconds."""

    name: list[str]
    """The last part of each command's subject."""
    sent: list[float]
    acknowledged: list[float]
    late: list[float]
    """Seconds behind the rhythm."""
    began: float
    ended: float
    cpu_seconds: float
    """Of this process, from the first command that is told of to the last."""


async def send(order: Order, load: Sequence[SignedCommand]) -> Sent:
    """Each at its moment, whatever has become of those before."""
    sender = CommandSender(order.client, order.partitions)
    await sender.start()
    names = names_of(load)
    sent, acknowledged, late = [0.0] * len(load), [0.0] * len(load), [0.0] * len(load)
    tell = _teller(order.observer)
    first = round(order.rate * order.warming)
    chance = random.Random(order.seed)  # noqa: S311  a rhythm is no secret
    on_the_way: set[asyncio.Task[None]] = set()
    cpu = 0.0

    async def hand_over(numbers: range) -> None:
        await sender.send(load[numbers.start : numbers.stop])
        now = time.time()
        for n in numbers:
            acknowledged[n] = now

    due, handed, n = time.time(), 0, 0
    while n < len(load):
        due += chance.expovariate(order.rate)
        if (wait := due - time.time()) > 0:
            if handed < n:
                task = asyncio.create_task(hand_over(range(handed, n)))
                on_the_way.add(task)
                task.add_done_callback(on_the_way.discard)
                handed = n
            await asyncio.sleep(wait)
        sent[n] = now = time.time()
        late[n] = now - due
        if n == first:
            cpu = _cpu_seconds()
        if n >= first and n % order.sample_every == 0:
            tell(names[n], now)
        n += 1
    on_the_way.add(asyncio.create_task(hand_over(range(handed, n))))
    await asyncio.gather(*on_the_way)
    cpu = _cpu_seconds() - cpu
    await sender.stop()
    return Sent(
        name=names[first:], sent=sent[first:], acknowledged=acknowledged[first:], late=late[first:],
        began=sent[first], ended=sent[-1], cpu_seconds=cpu,
    )  # fmt: skip


def _teller(observer: Path) -> Callable[[str, float], None]:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    link.connect(address(observer))
    link.setblocking(False)

    def tell(name: str, now: float) -> None:
        # An observer that cannot follow sees fewer; the rhythm waits for nobody.
        with suppress(BlockingIOError):
            link.send(f"{now!r} {name}".encode())

    return tell


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    order = Order.model_validate_json(sys.stdin.buffer.readline())
    load = signed(order)
    # A collection in the middle would be a pause in the rhythm.
    gc.freeze()
    gc.disable()
    _say({"ready": len(load)})
    if sys.stdin.buffer.readline():
        order.results.write_bytes(uvloop.run(send(order, load)).model_dump_json().encode())


def _say(document: Mapping[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
