"""The log taken away: from Kafka or the audit log the same files, checked on the way, and nobody notices."""

import asyncio
import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text

from adapters.audit.log import AuditLog
from adapters.keys import ed25519_signer, verify
from adapters.parquet import Manifest, open_export
from adapters.replay import BadPosition, RangeMissing, Source, parse_position
from adapters.replay.kafka import kafka_source
from adapters.replay.logged import LogSource
from adapters.replay.resolving import resolve
from adapters.replay.verifying import NotGenuine, signed_by
from adapters.tlog.entries import record_entry
from adapters.tlog.tiles import Tile
from adapters.tlog.tree import leaf_hash
from adapters.views.chain import ChainBroken
from adapters.vouching import vouched_by
from contracts import ZERO_HASH, rfc3339, uuid7
from domain.operations import Run
from ops.cli.output import Exit
from ops.export import Asked, event_types, export
from ops.export.recording import command_of
from tests import forks
from tests.adapters.exports import HUGE, Chained, declared
from tests.adapters.exports import exported as made
from tests.adapters.replay.world import NETWORK, WRITER, World
from tests.adapters.test_parquet import contents


@pytest.fixture
def world() -> World:
    return World(f"w{uuid4().hex[:12]}").fill(200)


@pytest.fixture
def log(world: World, tmp_path: Path) -> LogSource:
    return world.into_log(tmp_path)


def exported(folder: Path, source: Source, world: World, begin: str = "start", end: str = "now", **options: Any) -> Manifest:
    return asyncio.run(exporting(folder, source, world, begin, end, **options))


async def exporting(
    folder: Path, source: Source, world: World, begin: str = "start", end: str = "now", **options: Any
) -> Manifest:
    first, last = [await resolve(parse_position(position), source, world.topics) for position in (begin, end)]
    return await export(Asked(NETWORK, first, last, **options), folder, source)


signed = signed_by(vouched_by(NETWORK, [WRITER.did], verify))


# From both sources


def test_kafka_and_the_audit_log_give_the_same_files(world: World, log: LogSource, kafka: str, tmp_path: Path) -> None:
    client = world.publish(kafka)

    async def from_kafka() -> None:
        async with kafka_source(client) as source:
            await exporting(tmp_path / "kafka", source, world, values=True, check=signed)

    asyncio.run(from_kafka())
    exported(tmp_path / "log", log, world, values=True, check=signed)

    assert contents(tmp_path / "kafka") == contents(tmp_path / "log")


def test_a_live_group_keeps_its_offsets_and_no_group_is_made(world: World, kafka: str, tmp_path: Path) -> None:
    client = world.publish(kafka)
    places = {TopicPartition(world.topic, 0): 7, TopicPartition(world.topic, 1): 0}

    async def scenario() -> tuple[Any, Any, Any]:
        reader = AIOKafkaConsumer(world.topic, **client, group_id=world.context, enable_auto_commit=False)
        await reader.start()
        admin = AIOKafkaAdminClient(**client)
        await admin.start()
        try:
            await reader.commit(places)
            before = {group for group, *_ in await admin.list_consumer_groups()}
            async with kafka_source(client) as source:
                await exporting(tmp_path / "out", source, world)
            offsets = {place: (await admin.list_consumer_group_offsets(world.context))[place].offset for place in places}
            return offsets, before, {group for group, *_ in await admin.list_consumer_groups()}
        finally:
            await reader.stop()
            await admin.close()

    offsets, before, after = asyncio.run(scenario())

    assert offsets == places
    assert after == before


def test_every_leaf_of_the_audit_log_follows_from_an_export_with_values(world: World, log: LogSource, tmp_path: Path) -> None:
    exported(tmp_path / "out", log, world, values=True)

    with open_export(tmp_path / "out") as opened:
        leaves = {
            leaf_hash(record_entry(signature, value)) for signature, value in opened.rows("SELECT signature, value FROM events")
        }

    audit = AuditLog(log.engine)
    head = audit.head()
    assert head is not None
    hashes = b"".join(audit.tile(Tile(0, n, min(256, head.size - n * 256))) for n in range((head.size + 255) // 256))
    in_log = {hashes[at : at + 32] for at in range(0, len(hashes), 32)}
    assert len(leaves) == sum(world.whole().values())
    assert leaves <= in_log
    assert len(in_log - leaves) == head.batch


# Positions


def test_an_export_holds_what_is_between_two_cuts(world: World, log: LogSource, tmp_path: Path) -> None:
    """Two that meet hold together what one over both holds, and nothing twice."""
    shard = world.shards[1]
    middle = rfc3339(shard.times[90])

    first = exported(tmp_path / "first", log, world, end=middle)
    second = exported(tmp_path / "second", log, world, begin=middle)

    place = "SELECT shard, sequence, id FROM events"
    with open_export(tmp_path / "first") as one, open_export(tmp_path / "second") as two:
        found = [row for opened in (one, two) for row in opened.rows(place)]
    assert sorted(found) == sorted((s.name, n, event) for s in world.shards for n, event in enumerate(s.ids))
    for name, stretch in second.cut.items():
        assert (stretch.start, stretch.before) == (first.cut[name].end, first.cut[name].head or ZERO_HASH)
    assert 0 < first.events < sum(world.whole().values())


def test_an_export_that_ends_before_it_begins_is_refused(world: World, log: LogSource, tmp_path: Path) -> None:
    with pytest.raises(BadPosition):
        exported(tmp_path / "out", log, world, begin="now", end="start")
    with pytest.raises(RangeMissing):
        exported(tmp_path / "out", log, world, end=f"{world.topic}/0=999")

    assert not (tmp_path / "out").exists()


def test_types_that_nobody_asked_for_are_followed_and_left_out(world: World, log: LogSource, tmp_path: Path) -> None:
    """The chain is whole although the files hold a part of it."""
    none = exported(tmp_path / "none", log, world, types=["providers.OfferDeclared"])
    all_of_them = exported(tmp_path / "all", log, world, types=event_types(["identity"]))

    assert (none.events, none.files) == (0, ())
    assert {name: stretch.end for name, stretch in none.cut.items()} == world.whole()
    assert all_of_them.events == sum(world.whole().values())


def test_a_type_or_a_context_names_types() -> None:
    assert event_types(["inference.RouteDecided", "liveness"]) == [
        "inference.RouteDecided", "liveness.EpochClosed", "liveness.Halted", "liveness.HeartbeatsRecorded", "liveness.Lifted",
        "liveness.ParameterAdopted", "liveness.SlotsExcused",
    ]  # fmt: skip
    with pytest.raises(LookupError, match=r"inference\.RouteDecided"):
        event_types(["inference.OpenRequest"])


def test_what_is_recorded_of_an_export_names_its_cut_and_what_was_left_out(
    world: World, log: LogSource, tmp_path: Path
) -> None:
    whole = command_of(exported(tmp_path / "whole", log, world), 7)
    valued = command_of(exported(tmp_path / "values", log, world, values=True), 7)
    late = command_of(exported(tmp_path / "late", log, world, begin=f"{world.topic}/0=5"), 7)

    assert {place.shard: place.next for place in whole.cut} == world.whole()
    assert (whole.files, whole.log_size, whole.values, valued.values) == (3, 7, False, True)
    assert len({command.filter_digest for command in (whole, valued, late)}) == 3
    run = Run(f"operations/run/{uuid7()}")
    run.export(whole, WRITER.did)
    assert [type(event).__name__ for event in run.pending] == ["RecordsExported"]


# What is altered


def _tamper(log: LogSource, statement: str) -> None:
    with log.engine.begin() as connection:
        for name in list(connection.scalars(text("select name from sqlite_master where type = 'trigger'"))):
            connection.execute(text(f"drop trigger {name}"))
        connection.execute(text(statement))


def test_an_altered_record_is_found_by_the_chain(world: World, log: LogSource, tmp_path: Path) -> None:
    edited = 'cast(replace(entry, \'"reason":"\', \'"reason":"x\') as blob)'
    _tamper(log, f"update audit_leaves set entry = {edited} where shard = '{world.shards[0].name}' and sequence = 50")

    with pytest.raises(ChainBroken):
        exported(tmp_path / "out", log, world)

    assert not (tmp_path / "out").exists()


def test_the_last_record_is_held_by_its_signature_only(world: World, log: LogSource, tmp_path: Path) -> None:
    """No later record names its hash. Whoever wants to know asks for the signatures too."""
    edited = 'cast(replace(entry, \'"reason":"\', \'"reason":"x\') as blob)'
    _tamper(log, f"update audit_leaves set entry = {edited} where shard = '{world.shards[0].name}' and sequence = 199")

    exported(tmp_path / "unverified", log, world)
    with pytest.raises(NotGenuine, match=f"{world.shards[0].name} 199"):
        exported(tmp_path / "out", log, world, check=signed)


def test_a_stranger_who_can_publish_is_found_by_the_signatures(kafka: str, tmp_path: Path) -> None:
    """He makes a chain that fits; he has no writer's key."""
    world = World(f"w{uuid4().hex[:12]}").fill(30, partitions=1)
    world.shards[0].append("s1", "retired", world.shards[0].times[-1], signer=ed25519_signer(bytes([9]) * 32))
    client = world.publish(kafka)

    async def from_kafka(folder: str, **options: Any) -> int:
        async with kafka_source(client) as source:
            return (await exporting(tmp_path / folder, source, world, **options)).events

    assert asyncio.run(from_kafka("unverified")) == 31
    with pytest.raises(NotGenuine):
        asyncio.run(from_kafka("out", check=signed))


# The command line: `sql`


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of two offers whose price is 10^60."""
    folder = tmp_path_factory.mktemp("exports") / "out"
    shard = Chained()
    shard.append(declared(HUGE), "providers/offer/one")
    shard.append(declared(HUGE), "providers/offer/two")
    made(folder, shard)
    return folder


def run(*arguments: str | Path, said: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return forks.run(forks.SPACEOS, [str(argument) for argument in arguments], {**os.environ, **environment}, given=said)


SUM = "SELECT sum(prompt_price) AS total, max(time) AS last, count(*) AS n FROM offers, events"


def test_a_program_gets_exact_numbers(offers: Path) -> None:
    told = run("sql", SUM, offers, "--json")

    found = json.loads(told.stdout)
    assert told.returncode == Exit.OK
    assert found["columns"] == ["total", "last", "n"]
    assert found["types"] == ["BIGNUM", "TIMESTAMP", "BIGINT"]
    assert found["rows"] == [[str(4 * HUGE), "2026-11-24 23:59:59", 4]]


def test_a_question_may_stand_in_a_file_and_the_answer_be_csv(offers: Path, tmp_path: Path) -> None:
    (tmp_path / "question.sql").write_text(SUM)

    told = run("sql", "--file", tmp_path / "question.sql", offers, "--csv", "--trust")

    assert list(csv.reader(io.StringIO(told.stdout))) == [["total", "last", "n"], [str(4 * HUGE), "2026-11-24 23:59:59", "4"]]


def test_the_prompt_answers_until_the_end_and_survives_a_wrong_question(offers: Path) -> None:
    told = run(
        "sql", offers, said="SELECT 40 +\n 2;\nFROM nowhere;\nFROM read_text('/etc/passwd');\n\nSELECT 'still ' || 'here';\n"
    )

    assert told.returncode == Exit.OK
    assert "42" in told.stdout
    assert "still here" in told.stdout
    assert "nowhere does not exist" in told.stderr
    assert "read_text() is not available here" in told.stderr
    assert "root:" not in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["DROP VIEW events", "{offers}"], Exit.USAGE, "only queries are answered"),
        (["FROM nowhere", "{offers}"], Exit.USAGE, "there are: providers_offer_declared, events, offers"),
        (["SELECT 1", "{offers}/events"], Exit.USAGE, "is no export"),
        (["SELECT", "1", "{offers}"], Exit.USAGE, "quote the question"),
    ],
)
def test_what_cannot_be_answered_says_why(offers: Path, arguments: list[str], code: Exit, said: str) -> None:
    told = run("sql", *(argument.format(offers=offers) for argument in arguments))

    assert told.returncode == code
    assert said in " ".join(told.stderr.split())


def test_a_damaged_copy_is_something_wrong(offers: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", offers, copy], check=True)
    next(copy.rglob("*.parquet")).write_bytes(b"PAR1")

    told = run("sql", "SELECT 1", copy, "--json")

    assert told.returncode == Exit.FOUND_WRONG
    assert "other bytes than the manifest says" in json.loads(told.stdout)["error"]
