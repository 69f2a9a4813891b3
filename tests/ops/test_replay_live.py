"""A rebuild under load: the same rows, no command twice, no group disturbed; and what operators did is in the log."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import select

from adapters.kafka.bare import bare_consumer
from adapters.kafka.commands import SignedCommand
from adapters.kafka.topics import Topic, create_topics
from adapters.keys import read_key, write_key
from adapters.replay.raw import whole_topic
from adapters.sql import engine_for, reading
from adapters.views.folding import Parts
from adapters.views.rebuild import Rebuild
from ops.cli.output import Exit
from ops.demo.client import Client, client_for
from ops.demo.stages import Stages
from ops.fleet import Machine, fleet
from ops.genesis import make_genesis
from ops.local import kafka as local_kafka
from ops.registering import registrations
from ops.replay.states import live_digest
from ops.verifying import verify_live
from projections.operations import runs, versions_of
from streams import Collector, Process, Projection, TodoList
from tests.adapters.logs import eventually
from tests.ops.played import Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


class Live(Played):
    """A deployment whose processes run."""

    def up(self) -> subprocess.Popen[bytes]:
        log = (self.home / "up.log").open("wb")
        command = [sys.executable, "-m", "ops.cli", "up", "--json"]
        return subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.spaceos(*arguments, "--json")
        assert done.returncode == Exit.OK, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def live(own_broker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live(tmp_path_factory.mktemp("live"), local_kafka.address(own_broker))
    with ExitStack() as stack:
        make_genesis(made.home / "genesis.json", made.home / "keys", "dev")
        asyncio.run(made.deployment.prepare())
        running = made.up()
        stack.callback(running.wait, 30)
        stack.callback(running.terminate)
        asyncio.run(begin(made))
        yield made


async def begin(live: Live) -> None:
    """A network with an operator and an analyst, and the first machines."""
    stages = Stages.of(live.deployment)
    for name in ("operator", "analyst"):
        write_key(live.home / "keys" / f"{name}.key")
    async with client_for(live.settings.kafka_client_options(), live.settings.partitions) as client:
        await send(client, stages.founding())
        await send(client, [said for name in ("operator", "analyst") for said in registration(live, name)])
        await send(client, list(stages.keys([])))
        await send(client, list(stages.models()))
        await join(client, stages, fleet(10))


async def send(client: Client, commands: list[SignedCommand]) -> None:
    for answer in await client.all(commands, lambda _: None):
        assert answer.is_accepted, answer.document


async def join(client: Client, stages: Stages, machines: list[Machine]) -> None:
    """Each registration makes the process bind the machine."""
    await send(client, [key for key in stages.keys(machines) if key not in list(stages.keys([]))])
    await send(client, list(stages.fleet(machines)))
    await send(client, list(stages.offers(machines)))


def registration(live: Live, name: str) -> list[SignedCommand]:
    signer, *by = (read_key(live.home / "keys" / f"{key}.key") for key in (name, "root-2", "root-3"))
    now = datetime.now(UTC)
    roles = [(f"operations.{name}", "operations/")]
    return list(registrations(signer, roles, name, now + timedelta(days=90), by=by, network="dev", time=now))


def parts(live: Live, name: str) -> Parts:
    found = live.deployment
    return Parts(engine_for(found.settings.views), found.projection(name), found.settings.kafka_client_options())


def names(live: Live) -> list[str]:
    return [stream.name for stream in live.deployment.streams if isinstance(stream, Projection)]


async def commands(live: Live) -> Counter[tuple[str, str, str]]:
    """How often each command was sent: context, id, source."""
    found: Counter[tuple[str, str, str]] = Counter()
    for context in live.deployment.contexts():
        for records in (await whole_topic(live.settings.kafka_client_options(), f"{context}.commands")).values():
            documents = [orjson.loads(record.value) for record in records]
            found.update((context, document["id"], document["source"]) for document in documents)
    return found


async def groups(live: Live) -> dict[str, Any]:
    """Every group's offsets."""
    admin = AIOKafkaAdminClient(bootstrap_servers=live.kafka)
    await admin.start()
    try:
        known = sorted(entry[0] for entry in await admin.list_consumer_groups())
        return {group: await admin.list_consumer_group_offsets(group) for group in known}
    finally:
        await admin.close()


async def ends(live: Live) -> dict[Any, int]:
    """Where every topic ends but for the audit log's own, in which time is recorded."""
    async with bare_consumer({"bootstrap_servers": live.kafka}) as consumer:
        topics = sorted(name for name in await consumer.topics() if not name.startswith(("__", "audit.")))
        places = [TopicPartition(name, n) for name in topics for n in consumer.partitions_for_topic(name) or ()]
        found: dict[Any, int] = await consumer.end_offsets(places)
        return found


def settled(live: Live) -> None:
    """Everything that was sent is decided, published and read."""
    known: list[Any] = [None]

    def quiet() -> bool:
        now = (asyncio.run(ends(live)), asyncio.run(groups(live)))
        same, known[0] = bool(now == known[0]), now
        time.sleep(0 if same else 1.5)
        return same

    eventually(quiet, 60)


def test_a_rebuild_while_commands_flow_is_the_same_view_and_sends_nothing(live: Live) -> None:
    """Registrations flow, each of which makes a process send a command; every view is rebuilt and swapped meanwhile."""
    stages = Stages.of(live.deployment)
    more = fleet(40)[10:]

    async def load() -> None:
        async with client_for(live.settings.kafka_client_options(), live.settings.partitions) as client:
            for start in range(0, len(more), 5):
                await join(client, stages, more[start : start + 5])

    async def both() -> list[Any]:
        loading = asyncio.create_task(load())
        found = [await Rebuild(partial(parts, live, name), processes=1, keep=True).swap() for name in names(live)]
        await loading
        return found

    rebuilt = asyncio.run(both())

    assert all(found.equal and found.swapped for found in rebuilt)
    settled(live)
    for name in names(live):
        assert asyncio.run(Rebuild(partial(parts, live, name), processes=1).verify()).equal, name
    sent = asyncio.run(commands(live))
    assert set(sent.values()) == {1}
    process = read_key(live.home / "keys" / "process.key").did
    bound = [command for command in sent if command[0] == "providers" and command[2] == process]
    # A standing for each machine that has a stake is signed by the same key, in the demo's hand.
    staked = sum(machine.tier != "free" for machine in fleet(40))
    assert len(bound) == 40 + staked


def test_a_rebuild_moves_no_offset_and_ends_no_topic_elsewhere(live: Live) -> None:
    """Nothing comes in, so nothing may change."""
    settled(live)
    before = asyncio.run(groups(live)), asyncio.run(ends(live))

    for name in names(live):
        asyncio.run(Rebuild(partial(parts, live, name), processes=1, keep=True).swap())
    time.sleep(2)

    assert (asyncio.run(groups(live)), asyncio.run(ends(live))) == before


def test_the_audit_log_is_verified_while_commands_flow(live: Live) -> None:
    """Whatever is newer in one place than in another is no finding."""
    stages, more = Stages.of(live.deployment), fleet(200)[40:]

    async def load(until: asyncio.Event) -> int:
        """As long as somebody verifies, however busy the machine is; how many have joined."""
        async with client_for(live.settings.kafka_client_options(), live.settings.partitions) as client:
            for start in range(0, len(more), 2):
                if until.is_set():
                    return start
                await join(client, stages, more[start : start + 2])
        return len(more)

    async def both() -> tuple[int, list[Any]]:
        verified, findings = asyncio.Event(), list[Any]()
        loading = asyncio.create_task(load(verified))
        engine = engine_for(live.settings.audit)
        for _ in range(2):
            findings += [found async for found in verify_live(live.deployment, engine, lambda done, total: None)]
        verified.set()
        engine.dispose()
        return await loading, findings

    joined, findings = asyncio.run(both())

    assert findings == []
    assert joined > 0


def test_an_empty_topic_is_read_to_its_end(live: Live) -> None:
    """On a busy machine it hung: a consumer was stopped right after a new assignment."""
    client = live.settings.kafka_client_options()

    async def read() -> list[Any]:
        await create_topics([Topic("empty.events", 4)], client)
        return [await asyncio.wait_for(whole_topic(client, "empty.events"), 20) for _ in range(10)]

    assert asyncio.run(read()) == [{n: [] for n in range(4)}] * 10


def test_only_projections_are_rebuilt(live: Live) -> None:
    """A process or a collector has effects, so it is none of the things that a rebuild knows."""
    others = [stream for stream in live.deployment.streams if not isinstance(stream, Projection)]
    effective = {type(stream): stream.name for stream in others}
    assert set(effective) == {Process, Collector, TodoList}

    for name in effective.values():
        done = live.spaceos("rebuild", name)
        assert done.returncode == Exit.USAGE
        assert "no projection" in done.stderr


def test_nothing_that_a_rebuild_imports_can_send() -> None:
    """The lock is structural: the readers that have effects, and whatever publishes, are not even loaded."""
    program = "import sys, adapters.views.rebuild, adapters.views.back; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"adapters.views.processes", "adapters.kafka.commands", "adapters.kafka.publisher", "adapters.faust"} & set(
        loaded
    )


def test_an_operator_s_swaps_are_in_the_log(live: Live) -> None:
    first = live.json("rebuild", "decision_log", "--record", "operator")
    second = live.json("rebuild", "decision_log", "--record", "operator")
    back = live.json("back", "decision_log", "--record", "operator")
    gone = live.json("retire", "decision_log", "--record", "operator")

    assert all(found["recorded_as"] for found in (first, second, back, gone))
    engine = engine_for(live.settings.views)

    def shown() -> list[tuple[int, str]]:
        with reading(engine) as connection:
            return [(version.version, version.state) for version in versions_of("decision_log", connection)]

    eventually(lambda: shown() == [(2, "retired"), (1, "live")])
    engine.dispose()


def test_who_has_no_role_records_nothing(live: Live) -> None:
    """And nothing is swapped."""
    engine = engine_for(live.settings.views)
    before = live_digest(engine, live.deployment.projection("uptime"))

    done = live.spaceos("rebuild", "uptime", "--record", "analyst")

    assert done.returncode == Exit.FOUND_WRONG
    assert "NotInRole" in done.stderr
    assert live_digest(engine, live.deployment.projection("uptime")) == before
    engine.dispose()


def test_a_what_if_is_recorded_by_its_digests_only(live: Live) -> None:
    found = live.json("replay", "whatif", "recommand:keys", "--set", "service_key_days=30", "--record", "analyst")
    assert found["newly_refused"] > 0
    engine = engine_for(live.settings.views)

    def recorded() -> list[Any]:
        with reading(engine) as connection:
            statement = select(runs.c.run, runs.c.kind, runs.c.input_digest, runs.c.result_digest)
            return [tuple(row) for row in connection.execute(statement)]

    row = (found["what_if"], "recommand keys", found["input_digest"], found["result_digest"])
    eventually(lambda: row in recorded())
    engine.dispose()


def test_a_window_is_recorded_and_what_is_not_says_so(live: Live) -> None:
    into = ("--from", "start", "--into", "tests.ops.test_replay:count")
    found = live.json("replay", "window", "identity.commands", *into, "--record", "analyst")
    unsigned = live.spaceos("replay", "window", "identity.commands", *into)

    assert found["recorded_as"]
    assert "Not recorded: --record KEY" in unsigned.stdout


def test_a_digest_is_shown_with_its_cut(live: Live) -> None:
    settled(live)

    shown = live.json("digest", "key_registry")
    then = live.json("digest", "key_registry", "--at", "now")
    start = live.json("digest", "key_registry", "--at", "start")

    assert shown == then
    assert (start["rows"], start["digest"] != shown["digest"]) == (0, True)


def test_a_verdict_says_where_the_log_is_kept(live: Live) -> None:
    """An option that is wrong is told apart from a log that is."""
    missing = live.spaceos("replay", "state", "uptime", "--source", "log", "--log", f"sqlite:///{Path('/nowhere/audit.db')}")

    assert missing.returncode == Exit.USAGE
    assert "--log URL" in missing.stderr
