"""Whatever happens while records are sequenced: each is in the tree once, in its shard's order, or its shard is halted."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from adapters.audit import AuditLog, Sequencer, check_log, tables
from adapters.audit.log import NotInLog
from adapters.audit.reader import SequencerReader
from adapters.audit.sequencer import AnotherNetwork, release_shard
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.tlog.entries import RecordEntry, Seal, read_entry
from adapters.tlog.notes import NoteSigner
from adapters.tlog.tree import leaf_hash, verify_inclusion
from adapters.views.positions import Fenced
from adapters.vouching import vouched_by
from tests.adapters.audit.log import NETWORK, STRANGER, WRITER, Arrived, SignedShard, three
from tests.chance import seeds
from tests.databases import upgrade

SIGNER = NoteSigner.of("audit.example/test/1", bytes(32))


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    made = engine_for(store_url)
    upgrade(made, "audit")
    yield made
    made.dispose()


def sequencer(engine: Engine, network: str = NETWORK) -> Sequencer:
    return Sequencer(engine, network, vouched_by(network, [WRITER.did], verify))


def claimed(engine: Engine, shards: list[SignedShard]) -> Sequencer:
    made = sequencer(engine)
    made.claim([shard.name for shard in shards])
    return made


def records(engine: Engine) -> dict[str, list[int]]:
    """Of each shard the sequences in the log, in the log's order."""
    log, found = AuditLog(engine), dict[str, list[int]]()
    head = log.head()
    for n in range(head.size if head else 0):
        entry = read_entry(log.entry(n))
        if isinstance(entry, RecordEntry):
            with engine.connect() as connection:
                statement = text("select shard, sequence from audit_leaves where leaf = :n")
                shard, sequence = connection.execute(statement, {"n": n}).one()
            found.setdefault(shard, []).append(sequence)
    return found


def findings(engine: Engine) -> list[Any]:
    return list(check_log(engine, SIGNER.key, verify))


def whole(shards: list[SignedShard]) -> dict[str, list[int]]:
    return {shard.name: list(range(len(shard.records))) for shard in shards}


@pytest.mark.chance
@pytest.mark.parametrize("seed", seeds(4))
def test_any_delivery_puts_each_record_in_the_log_once(engine: Engine, seed: int) -> None:
    """Chunks of any size, in any order of shards, delivered again whenever it pleases, with pauses in which it is idle."""
    chance, shards = random.Random(seed), three()
    mine, at = claimed(engine, shards), {shard.name: 0 for shard in shards}

    while any(at[shard.name] < len(shard.records) for shard in shards):
        chunks = {}
        for shard in chance.sample(shards, chance.randint(1, 3)):
            start = max(0, at[shard.name] - chance.choice([0, 0, 3]))
            chunks[shard.name] = shard.records[start : at[shard.name] + chance.randint(0, 6)]
        for name, applied in mine.apply(chunks).items():
            at[name] = applied.position.next
        if chance.random() < 0.1:
            mine.seal_idle()
        if chance.random() < 0.1:
            mine = claimed(engine, shards)

    assert {shard: sorted(found) for shard, found in records(engine).items()} == records(engine) == whole(shards)
    assert findings(engine) == []


def test_a_batch_has_one_order_whoever_hands_it_over(tmp_path: Any) -> None:
    """And its seal says which records it holds."""
    roots = set()
    for n, turn in enumerate([three(), three()[::-1]]):
        engine = engine_for(f"sqlite:///{tmp_path}/{n}.db")
        upgrade(engine, "audit")
        claimed(engine, turn).apply({shard.name: shard.records for shard in turn})
        head = AuditLog(engine).head()
        assert head is not None
        roots.add(head.root)
        seal = read_entry(AuditLog(engine).entry(head.size - 1))

    assert len(roots) == 1
    assert isinstance(seal, Seal)
    assert [(cut.shard, cut.start, cut.end) for cut in seal.cuts] == [(s.name, 0, len(s.records)) for s in three()]


@pytest.mark.parametrize("sizes", [(1, 300, 700), (255, 1, 256), (49, 50, 51), (99, 100)])
def test_batches_of_every_size_fill_the_tiles(engine: Engine, sizes: tuple[int, ...]) -> None:
    """A tile is begun, filled to its end and gone beyond in one batch."""
    shard, start = SignedShard(0).fill(sum(sizes)), 0
    mine = claimed(engine, [shard])

    for size in sizes:
        mine.apply({shard.name: shard.records[start : start + size]})
        start += size

    assert records(engine) == whole([shard])
    assert findings(engine) == []


@pytest.mark.chance
@pytest.mark.parametrize("seed", seeds(3))
def test_batches_that_are_handed_over_together_are_those_handed_over_alone(tmp_path: Any, seed: int) -> None:
    """While one is taken in the next is verified, and the log is the same: also behind gaps, repeats and forks."""
    chance, shards = random.Random(seed), three(40)
    shards[2].records.append(of_another_chain(shards[2]))
    shards[2].fill(4)
    batches = []
    for start in range(0, 48, 6):
        chosen = chance.sample(shards, chance.randint(1, 3))
        batches.append({s.name: s.records[max(0, start - chance.randint(0, 3)) : start + 6] for s in chosen})
        batches.append({s.name: s.records[: start + 6] for s in shards})

    logs = []
    for name in ("alone", "together"):
        engine = engine_for(f"sqlite:///{tmp_path}/{name}.db")
        upgrade(engine, "audit")
        mine = claimed(engine, shards)
        answers = [mine.apply(batch) for batch in batches] if name == "alone" else list(mine.apply_each(batches))
        logs.append((answers, mine.halted, claimed(engine, shards).halted, records(engine), AuditLog(engine).head()))
        assert findings(engine) == []

    assert logs[0] == logs[1]
    assert list(logs[0][1]) == [shards[2].name]


class Killed(Exception):
    """The process died here."""


def test_dying_at_any_statement_changes_nothing_of_what_follows(engine: Engine) -> None:
    """The same batches give the same root, however often one of them died on the way, before its commit or after it."""
    shards = three(12)
    batches = [{s.name: s.records[start : start + 4] for s in shards} for start in range(0, 16, 4)]
    armed: list[int] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(*_: Any) -> None:
        if armed:
            armed[0] -= 1
            if armed[0] == 0:
                armed.clear()
                raise Killed

    died = 0
    for batch in batches:
        for statement in range(1, 40):
            mine = claimed(engine, shards)
            armed[:] = [statement]
            try:
                mine.apply(batch)
            except Killed:
                died += 1
                continue
            armed.clear()
            break

    assert died >= 4 * 6
    assert records(engine) == whole(shards)
    assert findings(engine) == []
    head = AuditLog(engine).head()
    assert head is not None
    assert head.batch == len([batch for batch in batches if any(batch.values())])


def test_dying_at_any_statement_of_batches_that_are_handed_over_together_changes_nothing(engine: Engine) -> None:
    """Whichever of them died: those before it are in the log, it and those behind it are not, and are asked for again."""
    shards = three(12)
    batches = [{s.name: s.records[start : start + 4] for s in shards} for start in range(0, 16, 4)]
    armed: list[int] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(*_: Any) -> None:
        if armed:
            armed[0] -= 1
            if armed[0] == 0:
                armed.clear()
                raise Killed

    died, mine = 0, claimed(engine, shards)
    for statement in range(1, 60):
        armed[:] = [statement]
        try:
            list(mine.apply_each(batches))
        except Killed:
            died += 1
            assert findings(engine) == []
            continue
        armed.clear()
        break

    assert died >= 6
    assert records(engine) == whole(shards)
    assert findings(engine) == []


def test_whoever_stops_listening_finds_nothing_half_done(engine: Engine) -> None:
    shards = three(8)
    mine = claimed(engine, shards)
    batches = [{s.name: s.records[start : start + 3] for s in shards} for start in range(0, 12, 3)]

    applying = mine.apply_each(batches)
    answered = next(applying)
    applying.close()
    found = records(engine)
    mine.apply({s.name: s.records for s in shards})

    assert {shard: applied.position.next for shard, applied in answered.items()} == dict.fromkeys(found, 3)
    assert {shard: len(sequences) for shard, sequences in found.items()} == dict.fromkeys(found, 3)
    assert records(engine) == whole(shards)
    assert findings(engine) == []


def test_a_shard_that_is_claimed_between_two_batches_fences_the_second(engine: Engine) -> None:
    shards = three(6)
    sleeper = claimed(engine, shards)
    batches = [{s.name: s.records[start : start + 3] for s in shards} for start in (0, 3)]

    applying = sleeper.apply_each(batches)
    next(applying)
    successor = claimed(engine, shards)
    with pytest.raises(Fenced):
        next(applying)
    successor.apply({s.name: s.records for s in shards})

    assert records(engine) == whole(shards)
    assert findings(engine) == []


def test_a_lost_answer_to_a_commit_is_found_out(engine: Engine) -> None:
    shards = three(6)
    mine = claimed(engine, shards)
    lost = [True]

    @event.listens_for(engine, "checkin")
    def _(*_: Any) -> None:
        if lost and AuditLog(engine_for(engine.url)).head().size > 0:  # type: ignore[union-attr]
            lost.clear()
            raise Killed

    with pytest.raises(Killed):
        mine.apply({s.name: s.records for s in shards})
    mine.apply({s.name: s.records for s in shards})

    assert records(engine) == whole(shards)
    assert findings(engine) == []


def test_a_sequencer_whose_shards_another_has_claimed_changes_nothing(engine: Engine) -> None:
    shards = three(5)
    sleeper, successor = claimed(engine, shards), claimed(engine, shards)

    with pytest.raises(Fenced):
        sleeper.apply({shards[0].name: shards[0].records})
    successor.apply({s.name: s.records for s in shards})
    with pytest.raises(Fenced):
        sleeper.apply({shards[1].name: shards[1].records})

    assert records(engine) == whole(shards)
    assert findings(engine) == []


def bad_signature(shard: SignedShard) -> Arrived:
    record = shard.append()
    return replace(record, headers=[("signature", STRANGER.sign(record.value).encode())])


def stripped(shard: SignedShard) -> Arrived:
    return replace(shard.append(), headers=[])


def altered(shard: SignedShard) -> Arrived:
    record = shard.append()
    return replace(record, value=record.value.replace(b"retired", b"mistake"))


def by_a_stranger(shard: SignedShard) -> Arrived:
    return shard.append(STRANGER)


def of_another_network(shard: SignedShard) -> Arrived:
    return shard.append(network="elsewhere")


def of_no_form(shard: SignedShard) -> Arrived:
    return replace(shard.append(), value=b"{}")


def of_another_chain(shard: SignedShard) -> Arrived:
    """What the writer signed as the record after the shard's last, after another one than that."""
    twin = SignedShard(shard.partition).fill(max(len(shard.records) - 1, 0))
    twin.append(STRANGER)
    return replace(twin.append(), offset=len(shard.records))


STRANGERS = [bad_signature, stripped, altered, by_a_stranger, of_another_network, of_no_form]


@pytest.mark.parametrize("harm", STRANGERS)
def test_what_nobody_entitled_signed_is_passed_over_and_the_genuine_record_follows(engine: Engine, harm: Any) -> None:
    """In its place, before it and behind it: no stranger stops the log."""
    shard = SignedShard(1).fill(3)
    genuine = SignedShard(1).fill(5)
    wrong = harm(shard)
    mine = claimed(engine, [shard])

    applied = mine.apply({shard.name: [wrong, *genuine.records[:3], wrong]})[shard.name]
    alone = mine.apply({shard.name: [wrong]})[shard.name]
    mine.apply({shard.name: [wrong, *genuine.records[3:], wrong]})

    assert (applied.position.next, applied.gap) == (alone.position.next, alone.gap) == (3, None)
    assert not mine.halted
    assert records(engine) == whole([genuine])
    assert findings(engine) == []


def test_two_histories_of_an_entitled_writer_halt_their_shard_and_no_other(engine: Engine) -> None:
    """Named, with the sequence; and the shard stays halted for whoever claims it next."""
    good, bad = SignedShard(0).fill(4), SignedShard(1).fill(3)
    fork = of_another_chain(bad)
    mine = claimed(engine, [good, bad])

    mine.apply({bad.name: bad.records[:3]})
    mine.apply({good.name: good.records, bad.name: [fork]})
    mine.apply({bad.name: [*bad.records[3:], bad.append()]})
    heir = claimed(engine, [good, bad])

    assert records(engine) == {good.name: [0, 1, 2, 3], bad.name: [0, 1, 2]}
    assert list(mine.halted) == list(heir.halted) == [bad.name]
    assert findings(engine) == []


def test_a_halted_shard_goes_on_when_an_operator_says_so(engine: Engine) -> None:
    shard = SignedShard(0).fill(3)
    mine = claimed(engine, [shard])
    mine.apply({shard.name: shard.records[:2]})
    mine.apply({shard.name: [of_another_chain(SignedShard(0).fill(2))]})
    assert shard.name in mine.halted

    why = release_shard(engine, shard.name)
    released = mine.released()
    heir = claimed(engine, [shard])
    heir.apply({shard.name: shard.records})

    assert why is not None
    assert "does not follow" in why
    assert released == [shard.name]
    assert not heir.halted
    assert records(engine) == whole([shard])
    assert release_shard(engine, shard.name) is None


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_timer_of_one_that_another_has_followed_halts_nothing(engine: Engine, monkeypatch: Any, goes_on: bool) -> None:
    """Its shard waited for a record that the new owner has, or is to have."""
    monkeypatch.setattr("adapters.audit.reader.GAP_SECONDS", 0.0)
    shard = SignedShard(0).fill(8)
    told: list[str] = []

    async def on_halt(name: str, *_: Any) -> None:
        told.append(name)

    async def play() -> None:
        reader = SequencerReader(sequencer(engine), ["tally.events"], on_halt=on_halt)
        await reader.claim([shard.name])
        await reader.apply({shard.name: [*shard.records[:2], *shard.records[4:6]]})
        successor = claimed(engine, [shard])
        if goes_on:
            successor.apply({shard.name: shard.records})
        await asyncio.sleep(0.01)
        await reader.give_up_on_gaps()

    asyncio.run(play())
    heir = claimed(engine, [shard])
    heir.apply({shard.name: shard.records})

    assert not heir.halted
    assert not told
    assert records(engine) == whole([shard])
    assert findings(engine) == []


def test_what_may_not_be_in_the_log_halts_no_shard_that_another_has_followed(engine: Engine) -> None:
    """What it met may have been met on an older topic's partition than its successor's."""
    shard = SignedShard(0).fill(4)
    sleeper = claimed(engine, [shard])
    sleeper.apply({shard.name: shard.records[:2]})
    claimed(engine, [shard])

    with pytest.raises(Fenced):
        sleeper.apply({shard.name: [of_another_chain(SignedShard(0).fill(2))]})

    assert not sleeper.halted
    assert not claimed(engine, [shard]).halted


def test_silence_is_sealed_by_one_and_only_where_there_was_silence(engine: Engine) -> None:
    """An auditor without a shard, or one that slept, is not the one to say that nothing came."""
    shard = SignedShard(0).fill(4)
    idle, busy = claimed(engine, three(1)), claimed(engine, [shard])
    idle.seal_idle()
    busy.apply({shard.name: shard.records[:2]})

    idle.seal_idle()
    after_one_look = AuditLog(engine).head()
    idle.seal_idle()
    after_silence = AuditLog(engine).head()
    busy.seal_idle()
    again = AuditLog(engine).head()

    assert after_one_look is not None
    assert after_silence is not None
    assert again is not None
    assert (after_one_look.size, after_silence.size, again.size) == (3, 4, 4)


def test_what_is_missing_is_waited_for(engine: Engine) -> None:
    shard = SignedShard(0).fill(6)
    mine = claimed(engine, [shard])

    applied = mine.apply({shard.name: [*shard.records[:2], *shard.records[4:]]})[shard.name]

    assert (applied.position.next, applied.events, applied.gap) == (2, 2, 4)
    assert not mine.halted


def test_the_log_of_another_network_is_not_gone_on_with(engine: Engine) -> None:
    claimed(engine, three(1))

    with pytest.raises(AnotherNetwork):
        sequencer(engine, "elsewhere").claim(["tally.events/0"])


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_leaves set type = 'x'",
        "delete from audit_leaves",
        "delete from audit_tiles",
        "update audit_tiles set hashes = entry from audit_leaves where leaf = 0",
    ],
)
def test_the_database_itself_takes_nothing_back(engine: Engine, statement: str) -> None:
    shards = three(3)
    claimed(engine, shards).apply({s.name: s.records for s in shards})

    with pytest.raises(Exception, match=r"append-only|only extended"), engine.begin() as connection:
        connection.execute(text(statement))


def test_a_proof_is_two_questions_and_neither_walks_a_table(engine: Engine) -> None:
    """Its head, and all of its tiles by the index: SQLite walks the table for `(level, number) in (...)`."""
    shard = SignedShard(0).fill(600)
    claimed(engine, [shard]).apply({shard.name: shard.records})
    with engine.begin() as connection:
        connection.execute(insert(tables.checkpoints).values(size=601, root=b"", note="signed"))
    asked: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    proof = AuditLog(engine).prove(300)

    verify_inclusion(leaf_hash(AuditLog(engine).entry(300)), 300, 601, proof.path, AuditLog(engine).root(601))
    (_, _), (tiles, parameters), *_ = asked
    assert len([statement for statement, _ in asked if "audit_tiles" in statement]) == 2, "one of the proof, one of the root"
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            plan = connection.exec_driver_sql(f"explain query plan {tiles}", parameters).all()
        assert not [step for step in plan if step.detail.startswith("SCAN")]


def test_an_event_that_is_not_there_is_said_to_be_missing(engine: Engine) -> None:
    with pytest.raises(NotInLog):
        AuditLog(engine).index_of("nothing")
