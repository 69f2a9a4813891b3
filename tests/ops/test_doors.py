"""A broker of one's own that lets in whom it knows, and each only to what his role needs."""

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTransactionTimeout,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from adapters.kafka.acls import May, On, Rule, add_rules, known_rules
from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.kafka.topics import Topic, create_topics, describe_topics
from ops.compose import Deployment
from ops.doctor import Finding, Health, examine
from ops.doors import compared, rules_of_deployment
from ops.genesis import make_genesis
from ops.local import kafka
from ops.local.kafka_config import BROKER, TRANSACTION_MS, USERS, User, login
from ops.settings import Settings
from tests.forks import SPACEOS, run

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a network whose broker is secured and has its topics and rules."""
    place = tmp_path_factory.mktemp("doors")
    make_genesis(place / "genesis.json", place / "keys", "dev")
    settings = Settings(home=place, kafka_secure=True)
    kafka.start(place, settings=settings)
    asyncio.run(Deployment(settings).prepare())
    yield place
    kafka.stop(place)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, kafka_secure=True)


def test_passwords_are_for_their_owner_and_stand_on_no_command_line_and_in_no_log(home: Path) -> None:
    folder = home / "kafka"
    passwords = [login(folder, user).password for user in (BROKER, *USERS)]
    status = kafka.status(home)

    assert len(set(passwords)) == len(passwords)
    assert min(map(len, passwords)) >= 43, "256 bits in base64url"
    for path in (*(folder / "users").iterdir(), folder / "users.jaas"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "users").stat().st_mode) == 0o700
    told = [Path(f"/proc/{status.pid}/{name}").read_text() for name in ("cmdline", "environ")]
    told += [path.read_text() for path in folder.glob("*.log")] + [(folder / "server.properties").read_text()]
    assert not [password for password in passwords for text in told if password in text]
    assert not [password for password in passwords if password in repr(login(folder, "worker"))]


GUESS = {"sasl_plain_password": "guess"}


@pytest.mark.parametrize(
    ("listener", "known"),
    [("broker", {}), ("broker", GUESS), ("controller", {}), ("controller", GUESS)],
    ids=["without", "with a guess", "controller without", "controller with a guess"],
)
def test_who_has_no_password_is_not_let_in(home: Path, settings: Settings, listener: str, known: dict[str, str]) -> None:
    """By neither listener: the controller's would take topics and rules, too."""
    ports = kafka._ports(home / "kafka")
    where = {"bootstrap_servers": f"127.0.0.1:{ports[listener]}", "request_timeout_ms": 3_000}
    options = {**settings.kafka_client_options("operator"), **known} if known else {}

    async def look() -> None:
        admin = AIOKafkaAdminClient(**{**options, **where})
        try:
            await asyncio.wait_for(admin.start(), 10)
        finally:
            await admin.close()

    with pytest.raises((KafkaConnectionError, KafkaError, TimeoutError)):
        asyncio.run(look())


async def write(client: dict[str, Any], topic: str) -> None:
    async with AIOKafkaProducer(**client, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"{}", partition=0)


async def read(client: dict[str, Any], topic: str) -> None:
    async with bare_consumer(client) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await tell_topics(consumer, [topic])
        consumer.seek(TopicPartition(topic, 0), 0)
        await consumer.getmany(timeout_ms=500)


async def join(client: dict[str, Any], group: str) -> None:
    consumer = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            await consumer.committed(TopicPartition("identity.outcomes", 0))
    finally:
        await consumer.stop()


async def transact(client: dict[str, Any], name: str, milliseconds: int = 5_000) -> None:
    producer = AIOKafkaProducer(**client, transactional_id=name, transaction_timeout_ms=milliseconds)
    try:
        await producer.start()
    finally:
        await producer.stop()


TRIED: dict[str, Callable[[dict[str, Any], str], Coroutine[Any, Any, None]]] = {
    "write": write, "read": read, "join": join, "transact": transact,
}  # fmt: skip

LET: list[tuple[User, str, str]] = [
    ("worker", "write", "identity.events"),
    ("worker", "write", "identity.outcomes"),
    ("worker", "read", "identity.events"),
    ("worker", "read", "identity.outcomes"),
    ("worker", "read", "identity.commands"),
    ("worker", "join", "spaceos.worker"),
    ("readers", "read", "identity.events"),
    ("readers", "read", "identity.outcomes"),
    ("readers", "read", "liveness.heartbeats"),
    ("readers", "write", "identity.commands"),
    ("readers", "join", "dev.readers.default"),
    ("readers", "join", "dev.readers.slow"),
    ("readers", "join", "dev.heartbeats"),
    ("readers", "join", "dev.audit_log"),
    ("clients", "write", "identity.commands"),
    ("clients", "write", "liveness.heartbeats"),
    ("clients", "read", "identity.outcomes"),
]
KEPT_OUT: list[tuple[User, str, str]] = [
    ("readers", "write", "identity.events"),
    ("readers", "write", "identity.outcomes"),
    ("readers", "read", "identity.commands"),
    ("readers", "join", "spaceos.worker"),
    ("clients", "write", "identity.events"),
    ("clients", "write", "identity.outcomes"),
    ("clients", "read", "identity.events"),
    ("clients", "read", "identity.commands"),
    ("clients", "read", "liveness.heartbeats"),
    ("clients", "join", "dev.readers.default"),
    ("clients", "join", "spaceos.worker"),
    ("worker", "join", "dev.readers.default"),
    ("worker", "read", "liveness.heartbeats"),
    *(("worker", "transact", "mine"), ("readers", "transact", "mine"), ("clients", "transact", "mine")),
]
SHOWN = ("identity.", "liveness.heartbeats")
"""Topics that stand for all of their kind."""
REFUSED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed)


@pytest.mark.parametrize(("user", "what", "where"), LET, ids=map(" ".join, LET))
def test_each_is_let_to_what_it_needs(settings: Settings, user: User, what: str, where: str) -> None:
    asyncio.run(TRIED[what](settings.kafka_client_options(user), where))


@pytest.mark.parametrize(("user", "what", "where"), KEPT_OUT, ids=map(" ".join, KEPT_OUT))
def test_and_to_nothing_else(settings: Settings, user: User, what: str, where: str) -> None:
    with pytest.raises(REFUSED):
        asyncio.run(TRIED[what](settings.kafka_client_options(user), where))


def test_no_transaction_stays_open_for_long(settings: Settings) -> None:
    """What follows an open one is hidden from readers who ask for what is committed."""
    operator = settings.kafka_client_options("operator")

    asyncio.run(transact(operator, "brief", TRANSACTION_MS))
    with pytest.raises(InvalidTransactionTimeout):
        asyncio.run(transact(operator, "long", TRANSACTION_MS + 1))


def test_every_rule_is_tried(settings: Settings) -> None:
    """One that nobody needs has no line above."""
    roles = {"User:worker": "worker", "User:readers": "readers", "User:*": "clients"}
    shown = [rule for rule in rules_of_deployment(Deployment(settings)) if rule.on == On.GROUP or rule.name.startswith(SHOWN)]
    groups = {"dev.readers.": ("dev.readers.default", "dev.readers.slow")}

    needed = {
        (roles[rule.principal], "join" if rule.on == On.GROUP else rule.operation, name)
        for rule in shown
        for name in groups.get(rule.name, (rule.name,))
    }

    assert needed == set(LET)


def test_setting_the_rules_again_changes_nothing_and_others_are_only_removed_when_it_is_said(
    home: Path, settings: Settings
) -> None:
    """Whoever set them may have meant it; but a former worker's rule lets him write events for ever."""
    operator = settings.kafka_client_options("operator")
    environment = {"SPACEOS_HOME": str(home), "SPACEOS_KAFKA_SECURE": "1"}
    former, beyond = Rule(On.TOPIC, "identity.events", "User:former", May.WRITE), Rule(On.TOPIC, "x", "User:x", May.READ)
    asyncio.run(add_rules([former, beyond], operator))

    applied = spaceos(["topics", "acls", "--apply"], environment)
    kept = asyncio.run(known_rules(operator))
    exact = spaceos(["topics", "acls", "--apply", "--exact"], environment)
    left = asyncio.run(known_rules(operator))
    checked = spaceos(["topics", "acls", "--check"], environment)

    assert applied.returncode == 1
    assert "User:former may write topic identity.events" in applied.stdout
    assert former in kept
    assert exact.returncode == checked.returncode == 0
    assert set(left) == {*rules_of_deployment(Deployment(settings)), beyond}


def test_the_doctor_says_what_the_broker_lacks(settings: Settings) -> None:
    lacking = settings.model_copy(update={"kafka_workers": ("User:another",)})

    assert finding("doors", settings).health is Health.OK
    assert finding("Kafka", settings).health is Health.OK
    found = finding("doors", lacking)
    assert found.health is Health.WRONG
    assert "User:another may read topic audit.commands" in found.said
    assert found.remedy == "spaceos topics acls --apply"


def test_the_doctor_and_a_start_tell_who_forgot_the_setting(home: Path) -> None:
    without = Settings(home=home)

    found = finding("Kafka", without)

    assert found.health is Health.WRONG
    assert found.remedy == "export SPACEOS_KAFKA_SECURE=1"
    with pytest.raises(kafka.OtherDoors, match="asks for passwords"):
        kafka.start(home, settings=without)


def test_a_home_is_secured_and_opened_again_in_place(tmp_path: Path) -> None:
    """What was written stays; of the passwords and the rules nobody has to think twice."""
    make_genesis(tmp_path / "genesis.json", tmp_path / "keys", "dev")
    opened, closed = Settings(home=tmp_path), Settings(home=tmp_path, kafka_secure=True)
    address = kafka.start(tmp_path, settings=opened)
    try:
        asyncio.run(Deployment(opened).prepare())
        asyncio.run(write(opened.kafka_client_options(), "identity.events"))
        assert finding("doors", opened).health is Health.NOTE
        kafka.stop(tmp_path)

        assert kafka.start(tmp_path, settings=closed) == address
        asyncio.run(Deployment(closed).prepare())
        passwords = [login(tmp_path / "kafka", user) for user in USERS]
        assert asyncio.run(compared(Deployment(closed))).missing == ()
        assert asyncio.run(count(closed.kafka_client_options("worker"), "identity.events")) == 1
        kafka.kill(tmp_path)

        kafka.start(tmp_path, settings=closed)
        assert [login(tmp_path / "kafka", user) for user in USERS] == passwords
        asyncio.run(write(closed.kafka_client_options("worker"), "identity.events"))
        kafka.stop(tmp_path)

        kafka.start(tmp_path, settings=opened)
        assert asyncio.run(count(opened.kafka_client_options(), "identity.events")) == 2
        assert not (tmp_path / "kafka" / "users.jaas").exists()
    finally:
        kafka.stop(tmp_path)


def test_topics_that_exist_take_smaller_batches_from_strangers_and_keep_their_other_settings(settings: Settings) -> None:
    """aiokafka's own way of altering would have set retention back to what the broker does by default."""
    operator, topic = settings.kafka_client_options("operator"), Topic("old.commands", 1, 7_777_777)
    tighter = Topic("old.commands", 1, 7_777_777, 1_000_000)

    async def bound() -> tuple[dict[str, Any], dict[str, Any]]:
        await create_topics([topic], operator)
        before = (await describe_topics([topic.name], operator))[topic.name]
        await create_topics([tighter], operator)
        await create_topics([topic], operator)
        return before, (await describe_topics([topic.name], operator))[topic.name]

    before, after = asyncio.run(bound())

    assert before["max.message.bytes"] == "4194304"
    assert after == {**before, "max.message.bytes": "1000000"}


async def count(client: dict[str, Any], topic: str) -> int:
    async with bare_consumer(client) as consumer:
        [end] = (await consumer.end_offsets([TopicPartition(topic, 0)])).values()
        return int(end)


def finding(subject: str, settings: Settings) -> Finding:
    return next(finding for finding in examine(settings) if finding.subject == subject)


def spaceos(arguments: list[str], environment: dict[str, str]) -> Any:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPACEOS_")}
    return run(SPACEOS, arguments, {**kept, "COLUMNS": "200", **environment})
