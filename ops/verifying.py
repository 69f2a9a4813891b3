"""`spaceos audit verify` of the live log: against itself, the topics, the event store, and the registry of keys."""

from collections.abc import AsyncIterator, Iterator

from sqlalchemy import Engine, select

from adapters import keys
from adapters.audit.checking import Finding, Progress, check_log
from adapters.audit.comparing import compare_store, compare_topics
from adapters.audit.log import AuditLog
from adapters.audit.search import Filter, search
from adapters.sql import engine_for, reading
from adapters.sql.store import Granted, KeyAuthority, Store
from adapters.sql.tables import authority_keys
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.entries import RecordEntry, read_entry
from adapters.tlog.notes import NoteInvalid
from commands import service_class
from contracts import parse_event, read_event
from ops.auditor import log_key
from ops.compose import Deployment
from ops.worker.authority import changed


async def verify_live(
    deployment: Deployment, engine: Engine, progress: Progress, *, against_sources: bool = True
) -> AsyncIterator[Finding]:
    """Everything that does not fit. Without `against_sources` the log is held against itself only."""
    writers = deployment.genesis.writers()

    def verify(did: str, value: bytes, signature: str) -> bool:
        return did in writers and keys.verify(did, value, signature)

    for finding in check_log(engine, log_key(deployment), verify, progress):
        yield finding
    if against_sources:
        store = engine_for(deployment.settings.store)
        for finding in (*compare_store(engine, store), *compare_registry(deployment, engine, store)):
            yield finding
        async for finding in compare_topics(engine, deployment.settings.kafka_client_options()):
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
    elif log.root(kept.size) != kept.root:
        yield Finding("kept", where, "was signed with another root than the log has there now: history was rewritten")


def compare_registry(deployment: Deployment, engine: Engine, store: Engine) -> Iterator[Finding]:
    """The write side's table of who may act must be what genesis and the log's events of identity make of it.

    Keys that an event has changed which the log does not hold yet are left out.
    """
    said, upto = _folded(deployment, engine)
    with reading(store) as connection:
        names = list(connection.scalars(select(authority_keys.c.key)))
    for key, found in sorted(Store(store).authority(names).items()):
        if found.shard != "genesis" and found.sequence >= upto.get(found.shard, 0):
            continue
        wanted = said.pop(key, None)
        if wanted is None:
            yield Finding("registry", key, "is registered, and no event of the log says so")
        elif _plain(found) != _plain(wanted):
            yield Finding("registry", key, "may do other things than the log's events say")
    for key in sorted(said):
        yield Finding("registry", key, "is registered by the log, and the table lacks it")


def _folded(deployment: Deployment, engine: Engine) -> tuple[dict[str, KeyAuthority], dict[str, int]]:
    """Authority by key, and how far each shard of identity is in the log."""
    said: dict[str, KeyAuthority] = {}
    for n, grant in enumerate(deployment.genesis.grants()):
        said[grant.key] = changed(said.get(grant.key), grant, "genesis", n)
    service, upto = service_class("identity").__new__(service_class("identity")), {}
    for row in search(engine, Filter(type="identity.")):
        entry = read_entry(bytes(row.entry))
        assert isinstance(entry, RecordEntry)
        record = parse_event(entry.value)
        upto[record.shard] = record.sequence + 1
        for change in service.authority(read_event(record.document), record.moment):
            said[change.key] = changed(said.get(change.key), change, record.shard, record.sequence)
    return said, upto


def _plain(key: KeyAuthority) -> tuple[bool, set[Granted | tuple[str, str, str]]]:
    # A revoked key's grants are of no account.
    grants: set[Granted | tuple[str, str, str]] = set()
    if not key.revoked:
        grants = {(grant.role, grant.prefix, grant.not_after.isoformat()) for grant in key.grants}
    return key.revoked, grants
