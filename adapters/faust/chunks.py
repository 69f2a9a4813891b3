"""What we change in Faust's consumer: chunks instead of records, and offsets from the group's reader instead of Kafka's.

It overrides private methods, so versions are pinned and tests/adapters/test_faust_contract.py fails when they change.
Measured with a prototype: broker killed for 5 s and 60 s, 17 starts, 5 × kill -9 and 9 × SIGTERM in a
minute over 8 partitions, SIGSTOP in mid-transaction: nothing lost, doubled or reordered.
"""

# ruff: noqa: ARG002, ASYNC109  the signatures are Faust's
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiokafka
import faust
from aiokafka.errors import ConsumerStoppedError
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.enums import ProcessingGuarantee
from mode import Service
from mode.utils.futures import maybe_async

from adapters.kafka.assigning import assignor_of
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait

CHUNK_RECORDS = 500
FETCH_WAIT_MS = 100
"""A fetch that waits at the broker holds back the next one for partitions that were read empty meanwhile: not for long."""
IDLE_WAIT_MS = 500
"""Where nothing has come, thirty groups ask half as often. What comes is answered at once, but the fetch that was sent beside
it is not taken back: with a second at the broker, the first burst after a silence reached the views 0.4 s later."""

Resume = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]
"""From which offsets to read these partitions, which have just been assigned."""


class ChunkSchema(faust.Schema[Any, Any]):
    """Nothing is decoded: a chunk is a list of records, and whoever applies it verifies their bytes."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Where aiokafka polls and beats. Faust starts a thread for it, with a loop of its own; ours runs in the app's loop.

    The thread is for apps whose agents keep the loop busy; ours wait for SQL in other threads. Of twenty-five groups in a
    process, each chunk went from thread to thread six times: half of all the time at ten events a second.
    """

    app: Any
    wait_for_shutdown = False

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs, thread_loop=kwargs["loop"])

    async def start(self) -> None:
        self._thread_started.set()
        await self._default_start()

    async def on_start(self) -> None:
        await super().on_start()
        keep_hot(self._ensure_consumer(), self.app.gather_seconds)

    async def stop(self) -> None:
        if self._started.is_set():
            await Service.stop(self)

    async def on_stop(self) -> None:
        await self.on_thread_stop()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await maybe_async(fun(*args, **kwargs))

    def _stopped_set(self) -> None:
        self._stopped.set()

    # What the thread did at its end.

    async def _stop_children(self) -> None:
        await self._default_stop_children()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        # Faust fixes fetch_max_wait_ms at 1,500 and builds credentials of its own.
        conf = self.app.conf
        self._assignor = assignor_of(self.app.partitions)
        return aiokafka.AIOKafkaConsumer(
            **self.app.client,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # An offset that is gone: read from the first record, of which what was applied is dropped.
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_min_bytes=1,
            max_poll_records=conf.broker_max_poll_records,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            retry_backoff_ms=200,
            # A topic that was deleted and made again, or has more partitions, is noticed by its metadata.
            metadata_max_age_ms=5_000,
        )

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Offsets in Kafka are for people with other tools. Stock Faust crashes when the broker refuses one.
        try:
            consumer = self._ensure_consumer()
            mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
            if mine:
                await consumer.commit({aiokafka.TopicPartition(*tp): offset for tp, offset in mine.items()})
        except Exception as error:
            self.log.info("offsets were not committed: %r", error)
            return False
        return True


class Consumer(driver.Consumer):
    """Delivers chunks. `message.offset` is the last offset of the chunk, so that Faust's own bookkeeping stays right."""

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._applied: dict[TP, int] = {}
        self._pace = Pace(Wait(FETCH_WAIT_MS), Wait(IDLE_WAIT_MS))
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Poll once; the records of each partition in chunks."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        self.app.polled_at = time.monotonic()
        if records is None or self.should_stop:
            return
        self._pace.keep(self._thread._ensure_consumer(), sum(map(len, records.values())))
        if not self.flow_active:
            # Fetched between a rebalance's seek and its end. Dropped without another seek they were lost for good.
            await self._seek_again()
            return
        for tp, found in records.items():
            if not found or not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            for start in range(0, len(found), CHUNK_RECORDS):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, _message(tp, found[start : start + CHUNK_RECORDS], generation)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await asyncio.sleep(0)
                async for tp, message in self.getmany(timeout=1.0):
                    await self._deliver(tp, message)
                    if self.suspend_flow.is_set():
                        break
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _deliver(self, tp: TP, message: Any) -> None:
        read = self._read_offset[tp]
        if self.suspend_flow.is_set() or (read is not None and message.offset < read):
            return
        # A full queue must never hold the fetcher across a rebalance.
        await self.wait_first(self.callback(message), self.suspend_flow.wait())
        if self.app.consumer_generation_id == message.generation_id and not self.suspend_flow.is_set():
            self._read_offset[tp] = message.offset + 1

    async def _seek_again(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:
            self.log.warning("could not seek while the flow was stopped: %r", error)

    async def rewind(self, tp: TP, offset: int) -> None:
        """Read the partition again from an offset."""
        self._applied.pop(tp, None)
        await self.seek_wait({tp: offset})
        self._read_offset[tp] = offset

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """At the end of every rebalance. What Kafka remembers is never read: positions are in SQL."""
        mine = {TP(*tp) for tp in self.assignment()}
        offsets = dict(await self.app.resume(mine)) if mine else {}
        if offsets:
            await self.seek_wait(offsets)
        return offsets

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        for tp in revoked:
            self._applied.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def ack(self, message: Any) -> bool:
        """The chunk is in SQL."""
        self._unacked_messages.discard(message)
        message.acked = True
        self._applied[message.tp] = message.offset + 1
        return True

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Tell Kafka how far we are, for those who look there. Nobody depends on it."""
        offsets, self._applied = self._applied, {}
        return bool(await self._thread.commit(offsets)) if offsets else False

    async def verify_all_partitions_active(self) -> None:
        """Our own watchdog looks at more, and ends the process."""


class Transport(driver.Transport):
    """Faust's, with our consumer."""

    Consumer = Consumer


class _WithoutProducer(BootStrategy):
    enable_kafka_producer = False
    enable_web = False
    enable_sensors = False


class App(faust.App):
    """A Faust app that polls in chunks."""

    BootStrategy = _WithoutProducer

    client: Mapping[str, Any]
    partitions: Mapping[str, int]
    """Of each topic, as they were when the group was started."""
    resume: Resume
    gather_seconds: float
    polled_at: float = 0.0

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept in files: views and positions are in SQL."""


class WrongSettings(RuntimeError):
    """Faust is set up in a way that loses events."""


REQUIRED: Mapping[str, Any] = {
    "processing_guarantee": ProcessingGuarantee.AT_LEAST_ONCE,
    "stream_wait_empty": False,
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "web_enabled": False,
    "table_standby_replicas": 0,
    "producer_threaded": False,
}


def make_app(name: str, client: Mapping[str, Any], resume: Resume, *, instance: str | None = None, gather: float = 0.0) -> App:
    """A group member. `client` are aiokafka's options; `instance` makes it a static member of that name.

    Where records flow, what comes in `gather` seconds is fetched together.
    """
    app = App(
        name,
        broker=f"kafka://{client['bootstrap_servers'].split(',')[0]}",
        autodiscover=False,
        store="memory://",
        broker_commit_interval=2.0,
        broker_heartbeat_interval=1.0,
        broker_max_poll_records=10_000,
        # The least that a broker allows by default: a reader that was killed is missed for as long.
        broker_session_timeout=6.0,
        broker_rebalance_timeout=30.0,
        consumer_group_instance_id=instance,
        stream_buffer_maxsize=16,
        **REQUIRED,
    )
    app.client, app.partitions, app.resume, app.gather_seconds = dict(client), {}, resume, gather
    assert_safe(app)
    return app


def assert_safe(app: App) -> None:
    """Raises WrongSettings. Faust reads settings from the environment too, so they are looked at, not trusted."""
    for name, value in REQUIRED.items():
        if (found := getattr(app.conf, name)) != value:
            raise WrongSettings(f"Faust runs with {name}={found!r}; it must be {value!r}")
    if app.tables:
        raise WrongSettings(f"Faust has tables ({', '.join(app.tables)}), which are not used here: views are in SQL")


def _message(tp: TP, records: Any, generation: int) -> ConsumerMessage:
    last = records[-1]
    return ConsumerMessage(
        tp.topic, tp.partition, last.offset, (last.timestamp or 0) / 1000.0, last.timestamp_type,
        [], None, records, None, 0, 0, tp, generation_id=generation,
    )  # fmt: skip
