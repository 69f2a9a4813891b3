"""One group of readers: whoever runs it under the same name shares its partitions.

Whatever goes wrong in a way that trying again cannot mend ends the run with GroupFailed, and the process with it: an
exception that leaves an agent, or a crashed thread, would otherwise leave a process that lives and reads nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from adapters.faust.backlog import Backlog, Chunk
from adapters.faust.chunks import App, ChunkSchema, Consumer, make_app
from adapters.faust.watchdog import Lookout, Watchdog
from adapters.kafka.locate import Behind, Looking, Lost, Places, Unanswered, looking
from adapters.sql import is_transient
from adapters.telemetry import ReaderTelemetry
from adapters.views import Applied, Fenced
from contracts import shard_name

log = logging.getLogger(__name__)

STOP_SECONDS = 1.5
RETRY_SECONDS = (0.05, 5.0)
"""The first pause of a retry and the longest; each is twice the one before."""
MISSING_SECONDS = (1.0, 15.0)

T = TypeVar("T")


class GroupFailed(Exception):
    """The group cannot go on; its cause says why. The process ends, and whoever supervises it starts it again."""


class Reader(Protocol):
    """What reads in the group. Methods may raise transient errors (`is_transient`), after which they are repeated."""

    @property
    def name(self) -> str: ...

    @property
    def topics(self) -> Sequence[str]: ...

    async def claim(self, shards: Collection[str]) -> None:
        """Own exactly these shards from now on."""

    async def resume(self, look: Looking, tps: Collection[TopicPartition], *, thorough: bool) -> Places:
        """Of each the offset that continues its shard's position, or the Lost, Behind, Forked or Unanswered that says why not.

        `thorough` after a gap, see `locate`. Raises KafkaError.
        """
        ...

    async def apply(self, chunks: Mapping[str, Sequence[Any]]) -> Mapping[str, Applied]:
        """Make them durable, with the position. Raises Fenced; anything else that is not transient ends the process."""
        ...


class Group:
    """A reader in a Faust app of its own."""

    def __init__(
        self,
        reader: Reader,
        client: Mapping[str, Any],
        *,
        network: str,
        instance: str | None = None,
        on_life: Callable[[], None] = lambda: None,
        lookout: Lookout | None = None,
        gather: float = 0.0,
    ) -> None:
        """`client` are aiokafka's options. `instance` makes a static member: it must be unique among those that live.

        `on_life` is called while the group reads, or could. `lookout` may be shared by the groups of a process.
        Under load a turn has what comes in `gather` seconds, at least: a turn costs more than its records.
        """
        self._reader, self._client = reader, dict(client)
        self._app: App = make_app(f"{network}.{reader.name}", client, self._resume, instance=instance, gather=gather)
        self._topic = self._app.topic(*reader.topics, key_type=bytes, value_type=bytes, schema=ChunkSchema())
        self._app.agent(self._topic, name=reader.name)(self._receive)
        self._backlog = Backlog()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._recoveries: dict[str, asyncio.Task[None]] = {}
        self._telemetry = ReaderTelemetry(reader.name)
        self._last_times: dict[str, str] = {}
        self._next: dict[str, int] = {}
        # The highest sequence that came before its predecessors.
        self._highest: dict[str, int] = {}
        self._on_life = on_life
        self._own_lookout = Lookout(client) if lookout is None else None
        looks = lookout or self._own_lookout
        assert looks is not None
        self._watchdog = Watchdog(self._app, looks, reader.topics, on_look=on_life, on_lag=self._tell_lag)

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set. Raises GroupFailed."""
        try:
            await self._watchdog.await_topics(stop)
            if not stop.is_set():
                await self._read(stop)
        finally:
            if self._own_lookout is not None:
                await self._own_lookout.close()

    async def _read(self, stop: asyncio.Event) -> None:
        self._app.partitions = self._watchdog.partitions
        tasks: list[asyncio.Future[Any]] = [self._failed]
        try:
            await self._app.start()
            works = (stop.wait(), self._app.wait_until_stopped(), self._apply_forever(), self._watchdog.run())
            tasks += map(asyncio.ensure_future, works)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await self._raise_cause(tasks)
        except GroupFailed:
            raise
        except Exception as error:
            raise GroupFailed(f"{self._reader.name}: {type(error).__name__}: {error}") from error
        finally:
            await self._stop(tasks)

    async def _raise_cause(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        crash = getattr(self._app, "crash_reason", None)
        raise GroupFailed(f"{self._reader.name}: Faust stopped by itself ({crash!r})")

    async def _stop(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        for task in [*tasks, *self._recoveries.values()]:
            task.cancel()
        await asyncio.gather(*tasks, *self._recoveries.values(), return_exceptions=True)
        try:
            await asyncio.wait_for(self._app.stop(), STOP_SECONDS)
        except Exception as error:
            # Nothing is lost by not waiting: what is not in SQL is delivered again.
            log.warning("%s: Faust did not stop in order: %r", self._reader.name, error)

    # Receiving. Runs inside Faust, so nothing may be raised here.

    async def _receive(self, stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                tp = event.message.tp
                await self._backlog.put(Chunk(shard_name(tp.topic, tp.partition), event.value, event))
            except Exception as error:
                self._fail(error)

    async def _resume(self, tps: set[TP]) -> Mapping[TP, int]:
        try:
            return await self._patiently(lambda: self._take_over(tps), f"taking over {len(tps)} shards")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # What a rebalance raises is logged by the client and swallowed, and it reads on from anywhere.
            self._fail(error)
            raise

    async def _take_over(self, tps: set[TP]) -> Mapping[TP, int]:
        await self._backlog.clear()
        await self._reader.claim({shard_name(*tp) for tp in tps})
        found = {}
        async with looking(self._client) as look:
            places = await self._reader.resume(look, [TopicPartition(*tp) for tp in sorted(tps)], thorough=False)
            for tp, place in places.items():
                found[TP(*tp)] = await self._begin_at(look, tp, place)
        log.info("%s reads on at %s", self._reader.name, {shard_name(*tp): offset for tp, offset in found.items()})
        return found

    async def _begin_at(self, look: Looking, tp: TopicPartition, place: int | Exception) -> int:
        match place:
            case int():
                return place
            case Behind():
                log.error("%s: %s; waiting for its owner to publish the rest", self._reader.name, place)
                return place.offset
            case Lost():
                # Reading from the first record meets the gap at once, and then waits as after any other gap.
                log.error("%s: %s", self._reader.name, place)
                return (await look.bounds(tp.topic, tp.partition))[0]
            case _:
                raise place

    # Applying.

    async def _apply_forever(self) -> None:
        while True:
            chunks = [chunk for chunk in await self._backlog.take() if chunk.shard not in self._recoveries]
            if chunks:
                await self._apply(chunks)

    async def _apply(self, chunks: Sequence[Chunk]) -> None:
        records: dict[str, list[Any]] = {}
        for chunk in chunks:
            records.setdefault(chunk.shard, []).extend(chunk.records)
        began = time.monotonic()
        try:
            with self._telemetry.applying(record for found in records.values() for record in found):
                applied = await self._patiently(lambda: self._reader.apply(records), f"applying {len(chunks)} chunks")
        except Fenced as fenced:
            # Another member has these shards, and a rebalance will tell us so. If it does not, the watchdog ends us.
            log.warning("%s: %s", self._reader.name, fenced)
            return
        for chunk in chunks:
            chunk.event.ack()
        for shard, result in applied.items():
            self._last_times[shard] = result.position.last_time
            if result.events:
                self._telemetry.applied(result.events, result.parked, time.monotonic() - began, result.position.last_time)
            self._next[shard] = result.position.next
            if result.gap is not None:
                self._telemetry.met_gap(shard)
                self._highest[shard] = max(result.gap, self._highest.get(shard, 0))
                log.warning("%s: %s: %d came, %d is next", self._reader.name, shard, result.gap, result.position.next)
                self._start_recovery(shard)

    def _start_recovery(self, shard: str) -> None:
        self._recoveries[shard] = asyncio.create_task(self._recover(shard))

    async def _recover(self, shard: str) -> None:
        """Find the next record and read on from there; wait as long as it is not in the topic."""
        topic, _, partition = shard.rpartition("/")
        tp = TP(topic, int(partition))
        try:
            offset = await self._patiently(lambda: self._find(tp), f"looking for the next record of {shard}", MISSING_SECONDS)
            consumer = cast(Consumer, self._app.consumer)
            if tp in consumer.assignment():
                await consumer.rewind(tp, offset)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)
        finally:
            self._recoveries.pop(shard, None)

    async def _find(self, tp: TP) -> int:
        async with looking(self._client) as look:
            (place,) = (await self._reader.resume(look, [TopicPartition(*tp)], thorough=True)).values()
        if isinstance(place, Exception):
            raise place
        return place

    async def _patiently(
        self, attempt: Callable[[], Awaitable[T]], doing: str, pauses: tuple[float, float] = RETRY_SECONDS
    ) -> T:
        """Try until it succeeds, as long as it is the world that does not answer."""
        pause, longest = pauses
        while True:
            self._watchdog.busy_at = time.monotonic()
            self._on_life()
            try:
                return await attempt()
            except Exception as error:
                if not (is_transient(error) or isinstance(error, KafkaError | Lost | Behind | Unanswered | ConnectionError)):
                    raise
                log.warning("%s: %s: %s: %s; again in %.2f s", self._reader.name, doing, type(error).__name__, error, pause)
                self._telemetry.retried()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _tell_lag(self, tp: TP, records: int) -> None:
        shard = shard_name(tp.topic, tp.partition)
        self._telemetry.lags(shard, records, self._last_times.get(shard, ""))
        # At the end of a topic that is out of order: what is next may stand before what was read.
        if not records and shard not in self._recoveries and self._next.get(shard, 0) <= self._highest.pop(shard, -1):
            self._start_recovery(shard)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
