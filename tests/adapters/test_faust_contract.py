"""What we rely on in Faust and aiokafka beyond their documentation: an upgrade that changes it fails here first."""

import hashlib
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.app.base import App, BootStrategy
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.conductor import ConductorCompiler
from faust.transport.drivers import aiokafka as driver
from mode import threads

from adapters.faust import chunks

pytestmark = pytest.mark.dependency

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

# What we override, with the bodies that we replaced: when one changes, read what changed, then write its new digest here.
OVERRIDDEN: dict[Any, str] = {
    base.Consumer.getmany: "f9b455bd1175994a",
    base.Consumer._drain_messages: "d29d37519f2ddf3a",
    base.Consumer.ack: "79cb6eb079360d46",
    base.Consumer.force_commit: "60c36b6e648808c3",
    base.Consumer.on_partitions_revoked: "c8ac3e4a2d70fd15",
    base.Consumer.verify_all_partitions_active: "99a9c6b67cab06df",
    base.ThreadDelegateConsumer.seek_to_committed: "d9a0f7c75bce9d4d",
    driver.Consumer._new_consumer_thread: "cd26d06ef170e339",
    driver.Consumer._to_message: "90a844786ae1a238",
    driver.AIOKafkaConsumerThread._create_worker_consumer: "df784c24f01ee3a8",
    driver.AIOKafkaConsumerThread._commit: "1a004189ca2f6e30",
    threads.ServiceThread.start: "e75718b2546dac08",
    threads.ServiceThread.stop: "3c133a69939b7eba",
    threads.ServiceThread._stopped_set: "05639e1cbb02012d",
    threads.ServiceThread._stop_children: "d7304a6179aee08b",
    threads.ServiceThread._stop_futures: "07e662ac08d34bfd",
    threads.ServiceThread._stop_exit_stacks: "abde019bdfe7a5dd",
    threads.ServiceThread._shutdown_thread: "ca4662366a9c9364",
    threads.ServiceThread._serve: "eec694d5cfec5add",
    threads.QueueServiceThread.call_thread: "2946b7e459bd1ea1",
    App._new_transport: "fa8f89679917f9d4",
    App._create_directories: "5e40d6b1a5c0ec98",
}

# What we call, or what calls us in an order that matters.
RELIED_UPON: dict[Any, str] = {
    base.Consumer._wait_next_records: "920120740535d0bc",
    base.Consumer.perform_seek: "5358eac6c2120a50",
    base.Consumer.stop_flow: "e8a58a4e8a746e49",
    base.Consumer.resume_flow: "a987c626ffe3da39",
    base.Consumer.on_partitions_assigned: "4372ddef3adb4115",
    base.ThreadDelegateConsumer.seek_wait: "53fd82bf846ae6bb",
    driver.AIOKafkaConsumerThread._seek_wait: "2f16c19b557c1f85",
    driver.AIOKafkaConsumerThread._fetch_records: "390594ddd941b59a",
    driver.AIOKafkaConsumerThread.on_start: "5152fc5a11244bef",
    driver.AIOKafkaConsumerThread.on_thread_stop: "3b87227d1d0f4a69",
    threads.Service.stop: "ec6bafd201f2c5c5",
    threads.Service._default_start: "576c0e733f234575",
    driver.ConsumerRebalanceListener.on_partitions_assigned: "b3e031406b0cbc82",
    Recovery._resume_streams: "bc681f67fb0cc302",
    App._on_partitions_assigned: "2dbbc0a122e549f0",
    App._on_partitions_revoked: "2e4a20a3b4e81b99",
    BootStrategy.server: "a071c2ca6ff8bbc9",
    ConductorCompiler.build: "a75956c797aaadab",
    RoundRobinPartitionAssignor.assign.__func__: "34ac2fd402bdca2a",
    GroupCoordinator._perform_assignment: "4e640aba9136ab0e",
    SubscriptionState.assigned_partitions: "91e1c3fe1b1de1c4",
}


@pytest.mark.parametrize(("name", "pinned"), PINNED.items())
def test_the_versions_are_those_that_were_examined(name: str, pinned: str) -> None:
    assert version(name) == pinned


@pytest.mark.parametrize("method", [*OVERRIDDEN, *RELIED_UPON], ids=lambda method: method.__qualname__)
def test_the_private_methods_are_those_that_were_read(method: Any) -> None:
    expected = {**OVERRIDDEN, **RELIED_UPON}[method]

    assert digest_of(method) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(chunks.Consumer, driver.Consumer), (chunks.ConsumerThread, driver.AIOKafkaConsumerThread), (chunks.App, App)],
)
def test_what_we_override_exists_with_the_same_parameters(ours: type, theirs: type) -> None:
    for name, method in vars(ours).items():
        if inspect.isfunction(method) and hasattr(theirs, name) and name != "__init__":
            assert list(inspect.signature(method).parameters) == list(inspect.signature(getattr(theirs, name)).parameters), name


def digest_of(method: Any) -> str:
    """Of its source without its indentation."""
    source = inspect.cleandoc(inspect.getsource(inspect.unwrap(method)))
    return hashlib.sha256(source.encode()).hexdigest()[:16]
