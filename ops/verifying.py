"""`spaceos audit verify` of the live log: against itself, the topics, the event store, and the registry of keys."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select, text

from adapters.audit import tables
from adapters.audit.checking import Finding, Progress, check_log
from adapters.audit.comparing import compare_positions, compare_store, compare_topics
from adapters.audit.log import AuditLog, NotInLog
from adapters.audit.packs import commands_in
from adapters.audit.search import Filter, search
from adapters.sql import engine_for, reading
from adapters.sql.store import Granted, KeyAuthority, consents_of
from adapters.sql.tables import authority_grants, authority_keys
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.notes import NoteInvalid
from adapters.tlog.tiles import TilesInconsistent
from commands import AuthorityChange, changed, service_class
from contracts import Event, instant, parse_event, read_event
from domain.identity.authority import BEGINNING
from ops.auditor import LAST_SIGNED, audit_topics, log_key, writer_signed
from ops.compose import Deployment
from ops.judging import judge_log


async def verify_live(
    deployment: Deployment, engine: Engine, progress: Progress, *, against_sources: bool = True
) -> AsyncIterator[Finding]:
    """Everything that does not fit. Without `against_sources` the log is held against itself only, and what was signed last.

    Whether what fits also follows is judged by the standalone verifier, where the log itself fits.
    """
    signed_before, is_fit = _read(deployment.settings.home / LAST_SIGNED), True
    for finding in check_log(engine, log_key(deployment), writer_signed(deployment), progress):
        is_fit = False
        yield finding
    if is_fit:
        for finding in judge_deployment(deployment, engine, with_commands=against_sources):
            yield finding
    for finding in (*compare_positions(engine), *compare_last_signed(deployment, engine, signed_before)):
        yield finding
    if against_sources:
        async for finding in compare_sources(deployment, engine):
            yield finding


def judge_deployment(deployment: Deployment, engine: Engine, *, with_commands: bool) -> Iterator[Finding]:
    """What does not follow from what, by the deployment's own genesis, key and store."""
    policy, genesis = f"log {log_key(deployment)}\nquorum none\n".encode(), deployment.genesis_path.read_bytes()
    store = engine_for(deployment.settings.store) if with_commands else None
    try:
        yield from judge_log(engine, policy, genesis, commands_in(store) if store is not None else None)
    finally:
        if store is not None:
            store.dispose()


async def compare_sources(deployment: Deployment, engine: Engine) -> AsyncIterator[Finding]:
    """What the store, the registry of keys and the topics have that the log has not, and the reverse."""
    store, verify = engine_for(deployment.settings.store), writer_signed(deployment)
    try:
        for finding in (*compare_store(engine, store, verify), *compare_registry(deployment, engine, store)):
            yield finding
    finally:
        store.dispose()
    client, topics = deployment.settings.kafka_client_options(), audit_topics(deployment)
    async for finding in compare_topics(engine, client, verify, topics):
        yield finding


def compare_kept(deployment: Deployment, engine: Engine, note: bytes) -> Iterator[Finding]:
    """Whether the log still is what somebody kept the signed head of, and has only grown since."""
    try:
        kept, _ = open_checkpoint(note, log_key(deployment))
    except NoteInvalid as error:
        yield Finding("kept", "checkpoint", f"is no head that this log has signed: {error}")
        return
    log, where = AuditLog(engine), f"checkpoint {kept.size}"
    head = log.head()
    if head is None or head.size < kept.size:
        yield Finding("kept", where, f"was signed, and the log has {head.size if head else 0} entries: the newest were cut off")
        return
    try:
        root = log.root(kept.size)
    except (NotInLog, TilesInconsistent) as error:
        yield Finding("kept", where, f"was signed, and its tree cannot be computed any more: {error}")
        return
    if root != kept.root:
        yield Finding("kept", where, "was signed with another root than the log has there now: history was rewritten")


def compare_last_signed(deployment: Deployment, engine: Engine, note: bytes | None) -> Iterator[Finding]:
    """The head in the file outside the database must be in the database, and of the tree that is there. None: no file here.

    An auditor that dies between the two and is not started again leaves the file ahead.
    """
    if note is None:
        return
    wrong = list(compare_kept(deployment, engine, note))
    yield from wrong
    if not wrong:
        size = open_checkpoint(note, log_key(deployment))[0].size
        with reading(engine) as connection:
            stored = connection.scalar(select(tables.checkpoints.c.note).where(tables.checkpoints.c.size == size))
        if stored is None:
            yield Finding("checkpoint", str(size), f"was signed last, as the file {LAST_SIGNED} shows, and is not in the table")


def compare_registry(deployment: Deployment, engine: Engine, store: Engine) -> Iterator[Finding]:
    """The write side's table of who may act must be what genesis and the events of identity make of it.

    The events are the log's; those that the log does not hold yet are the store's, as of the moment of the table.
    """
    logged = _logged(engine)
    upto = {event.shard: event.sequence + 1 for event in logged}
    with reading(store) as connection:
        found = _registered(connection)
        newer = _newer(connection, upto)
    # What changes authority draws its time under the lock of the keys that it changes: the order of time is theirs.
    said = _folded(deployment, sorted([*logged, *newer], key=lambda event: event[:3]))
    for key in sorted(found.keys() | said.keys()):
        if key not in said:
            yield Finding("registry", key, "is registered, and no event says so")
        elif key not in found:
            yield Finding("registry", key, "is registered by an event, and the table lacks it")
        elif _differ(found[key], said[key]):
            yield Finding("registry", key, "may do other things, or since another event, than the events say")


def _logged(engine: Engine) -> "list[_Said]":
    entries = (bytes(row.entry) for row in search(engine, Filter(type="identity.")))
    # The value is what follows the second line.
    return list(_readable(entry.split(b"\n", 2)[-1] for entry in entries))


class _Said(NamedTuple):
    """An event of identity; sorted in the order of time."""

    time: datetime
    shard: str
    sequence: int
    event: Event


def _readable(values: Iterable[bytes]) -> Iterator[_Said]:
    """Without those that are no events: they are found where the log and the store are checked, and their keys differ here."""
    for value in values:
        try:
            record = parse_event(value)
            said = _Said(record.moment, record.shard, record.sequence, read_event(record.document))
        except Exception:  # noqa: S112  whatever is met in bytes that somebody changed
            continue
        yield said


class _Registered(NamedTuple):
    """A key as it is, and what it had: role, prefix, place, since, the end that was given and the one that came."""

    known: KeyAuthority
    had: frozenset[tuple[object, ...]] = frozenset()


def _folded(deployment: Deployment, events: Iterable[_Said]) -> dict[str, _Registered]:
    """Authority by key."""
    said: dict[str, _Registered] = {}
    for n, grant in enumerate(deployment.genesis.grants()):
        _apply(said, grant, "genesis", n, BEGINNING)
    service = service_class("identity").__new__(service_class("identity"))
    for moment, shard, sequence, event in events:
        for change in service.authority(event, moment):
            _apply(said, change, shard, sequence, moment)
    return said


def _apply(said: dict[str, _Registered], change: AuthorityChange, shard: str, sequence: int, moment: datetime) -> None:
    before = said.get(change.key)
    known, had = before or (None, frozenset())
    followed = said.get(getattr(change, "follows", None) or "")
    now = changed(known, change, shard, sequence, followed.known if followed else None)
    still = {_named(grant) for grant in now.grants}
    gone = {_ended(grant, moment) for grant in (known.grants if known else ()) if _named(grant) not in still}
    said[change.key] = _Registered(now, had | gone)


def _named(grant: Granted) -> tuple[object, ...]:
    return grant.role, grant.prefix, grant.shard, grant.sequence


def _ended(grant: Granted, at: datetime) -> tuple[object, ...]:
    return (*_named(grant), grant.since, grant.not_after, at)


def _newer(connection: Connection, upto: Mapping[str, int]) -> list[_Said]:
    """The store's events of identity that the log does not hold yet. That they continue it is checked with the store."""
    statement = text(
        "select s.partition, e.sequence, e.value from events e join shards s on s.id = e.shard where s.context = 'identity'"
    )
    rows = [row for row in connection.execute(statement) if row.sequence >= upto.get(f"identity.events/{row.partition}", 0)]
    return list(_readable(bytes(row.value) for row in rows))


def _registered(connection: Connection) -> dict[str, _Registered]:
    grants: dict[str, list[Granted]] = {}
    had: dict[str, set[tuple[object, ...]]] = {}
    for row in connection.execute(select(authority_grants)):
        grant = Granted(
            row.role, row.prefix, instant(row.not_after), row.shard, row.sequence, instant(row.since), consents_of(row.consents)
        )
        if row.ended is None:
            grants.setdefault(row.key, []).append(grant)
        else:
            had.setdefault(row.key, set()).add(_ended(grant, instant(row.ended)))
    return {
        row.key: _Registered(
            KeyAuthority(
                row.key, row.shard, row.sequence, row.revoked, tuple(grants.get(row.key, ())), row.person, row.follows
            ),
            frozenset(had.get(row.key, ())),
        )
        for row in connection.execute(select(authority_keys))
    }  # fmt: skip


def _differ(found: _Registered, said: _Registered) -> bool:
    return _plain(found) != _plain(said) or not _consents(said.known) <= _consents(found.known)


def _plain(registered: _Registered) -> tuple[object, ...]:
    key, had = registered
    # Where genesis names a role, its number there is of no account; what became of it before rows were kept nobody knows.
    grants = {(g.role, g.prefix, g.not_after, g.since, _place(g.shard, g.sequence)) for g in key.grants}
    ended = {one for one in had if one[2] != "genesis"}
    return key.revoked, key.holder, key.follows, _place(key.shard, key.sequence), grants, ended


def _consents(key: KeyAuthority) -> set[tuple[object, ...]]:
    """Older events do not say them; who upgraded has them from those that went before."""
    return {(*_named(grant), grant.consents) for grant in key.grants if grant.consents}


def _place(shard: str, sequence: int) -> tuple[str, int]:
    return (shard, 0) if shard == "genesis" else (shard, sequence)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
