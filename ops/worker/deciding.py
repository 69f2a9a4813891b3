"""A batch: decided on an overlay, sealed (numbered, chained, signed), committed whole or not at all."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError

from adapters.crash import crashpoint
from adapters.keys import Signer, verify
from adapters.sql import is_transient
from adapters.sql.store import (
    AuthorityMoved,
    CommandRow,
    Decided,
    EventRow,
    KeyAuthority,
    Known,
    Sealed,
    Seen,
    Shard,
    Store,
    StreamMoved,
)
from commands import Asked, AuthorityChange, Grant, Service, changed, services
from contracts import (
    MAX_RECORD_BYTES,
    Command,
    CommandRecord,
    Event,
    Record,
    RefusalReason,
    StreamName,
    authority_positions,
    encode_outcome,
    event_id,
    instant,
    is_policy_stream,
    outcome_id,
    partition_of,
    rfc3339,
)
from contracts.identity import RotateKey
from domain import Aggregate, Refused
from domain.identity.authority import Founding
from domain.identity.following import KEYS
from ops.worker.aggregates import Aggregates
from ops.worker.authority import BatchAuthority, NotTheWriter, Permit, is_writer, permitted, spelled_otherwise
from ops.worker.carrying import Recorded
from ops.worker.checking import Checked

log = logging.getLogger(__name__)

MOST_KEYS = 100_000
"""Of whose authority a worker remembers what it was."""


class TooLarge(Exception):
    """An event, or the outcome that lists them, would be larger than a record may be: refused, and the batch decided again."""

    def __init__(self, checked: Checked) -> None:
        super().__init__("an event of the command, or the list of its events, is larger than a record may be")
        self.checked = checked


@dataclass(slots=True)
class Ruling:
    """One command's decision, before it has a time and a signature."""

    checked: Checked
    identity: str
    number: int
    causation: str
    events: Sequence[Event] = ()
    first_version: int = 0
    refusal: RefusalReason | None = None
    permit: Permit | None = None
    changes_authority: bool = False
    of_stranger: bool = False
    """Nobody whom the authority table knows has signed it, as far as can be told."""


@dataclass(slots=True)
class Chunk:
    """What a poll brought of one partition, and the counter row that the worker believes in."""

    shard: Shard
    records: list[Checked]
    rulings: list[Ruling] = field(default_factory=list)
    events: int = 0

    @property
    def next_number(self) -> int:
        return self.shard.next_outcome + len(self.rulings)


class Decider:
    """Decides batches for the shards of one worker. Whatever fails, the caller forgets, reads the rows and comes again."""

    def __init__(self, store: Store, signer: Signer, network: str, partitions: int) -> None:
        self.store = store
        self.signer = signer
        self.network = network
        self.partitions = partitions
        self.aggregates = Aggregates(store)
        self._services: dict[str, Service] = {s.context: s for s in services(self.aggregates, verify)}
        self._authority: dict[str, KeyAuthority] = {}
        self._believed: dict[int, Shard] = {}
        """Each shard's counter row as this worker left it."""
        self._shard_ids: dict[tuple[str, int], int] = {}
        self._founding: Founding | None = None

    @property
    def founding(self) -> Founding:
        """What the genesis says of the network. Raises LookupError in a store that was begun without one."""
        if self._founding is None:
            self._founding = self.store.founding()
        if self._founding is None:
            raise LookupError("this store was begun without a genesis")
        return self._founding

    def forget(self) -> None:
        """After any failure: nothing that was believed is believed any more."""
        self.aggregates.forget()
        self._authority.clear()
        self._believed.clear()

    def commit(self, chunks: Sequence[Chunk]) -> Sealed:
        """Decide and make durable. Raises what the store raises, and NotTheWriter; nothing of the batch has happened then."""
        if any(self._believed.get(chunk.shard.id) != chunk.shard for chunk in chunks):
            # The shard comes to us, or comes back: whoever had it meanwhile has moved what we remember of its streams,
            # and no unique version stops a refusal that rests on an old one.
            self.forget()
        while True:
            batch = _Batch(self, chunks)
            try:
                sealed = self.store.commit(batch.decide())
            except TooLarge as error:
                error.checked.problem = RefusalReason(name="TooLarge", text=str(error))
                error.checked.command = None
                self.forget()
                continue
            except AuthorityMoved:
                # Nobody is to blame: a key changed between reading and locking. The records are verified already.
                self.forget()
                continue
            self.aggregates.committed(sealed)
            for change, _, _ in sealed.authority:
                self._authority.pop(change.key, None)
            self._believed.update({after.id: after for _, after in sealed.shards})
            return sealed

    def authority_of(self, sources: Iterable[str]) -> dict[str, KeyAuthority]:
        """From the cache, else from the store; what is cached is compared in the transaction."""
        wanted = set(sources)
        if missing := wanted - self._authority.keys():
            self._authority.update(self.store.look(keys=missing).authority)
        return {key: self._authority[key] for key in wanted if key in self._authority}

    def look(self, identities: Collection[str], sources: set[str], streams: Iterable[str]) -> Seen:
        """All that a batch is decided from and is not at hand, with one question; authority in any case."""
        if len(self._authority) > MOST_KEYS:
            self._authority.clear()
        missing = sources - self._authority.keys()
        seen = self.store.look(identities=identities, keys=missing, streams=self.aggregates.missing(streams))
        self._authority.update(seen.authority)
        seen.authority = {key: self._authority[key] for key in sources if key in self._authority}
        return seen

    def service(self, context: str) -> Service:
        return self._services[context]

    def shard_id_of(self, stream: str) -> int:
        """The shard in which a stream is, for comparing what was only looked at."""
        context = stream.partition("/")[0]
        where = (context, partition_of(stream, self.partitions))
        if where not in self._shard_ids:
            self._shard_ids[where] = self.store.shard(*where).id
        return self._shard_ids[where]


class _Batch:
    """One attempt at a batch."""

    def __init__(self, decider: Decider, chunks: Sequence[Chunk]) -> None:
        self._decider = decider
        # By name, not as a poll brought them: what is decided of one shard may rest on what was just decided of another, and
        # all have one time. Whoever decides recorded commands again must know the order.
        self._chunks = [Chunk(c.shard, c.records) for c in sorted(chunks, key=lambda chunk: chunk.shard.events)]
        self._relied: dict[str, KeyAuthority | None] = {}
        self._changed: set[str] = set()
        self._repeats: list[tuple[int, int]] = []
        self._table = BatchAuthority(decider.store, lambda: decider.founding, self._relied_key, self._changed)
        self._recorded = Recorded(decider.store)
        identities, sources, asked = set[str](), set[str](), dict[str, list[Command]]()
        for checked in chain.from_iterable(chunk.records for chunk in chunks):
            record = checked.record
            if record is not None and checked.is_genuine:
                identities.add(_identity(record))
                sources.add(record.source)
                if checked.command is not None:
                    sources.update(_keys_named(record, checked.command))
                    asked.setdefault(record.subject, []).append(checked.command)
        # Whoever signs is looked up, locked and compared as whoever asks is.
        seen = decider.look(identities, {*sources, decider.signer.did}, asked)
        self._known, self._authority = seen.known, seen.authority
        for checked in chain.from_iterable(chunk.records for chunk in chunks):
            # Nothing is opened for a key that nobody registered: it costs time, and all of a batch is asked at once.
            if checked.command is not None and checked.record is not None and checked.record.source in self._authority:
                self._recorded.foresee(checked.command)
        # Drawn after authority was read: a decision is never dated before the grant that it relies on. And never before
        # what the shards have recorded: a clock that was set back must not make an ended role live again.
        self._now = max([seen.now, *(instant(c.shard.last_time) for c in chunks if c.shard.last_time)])
        decider.aggregates.begin(asked, seen.streams)
        self._absent = {*sources, decider.signer.did} - self._authority.keys()
        """Keys of which the store says nothing, so that it is not asked again."""
        self._writer = self._authority.get(decider.signer.did)
        self._relied[decider.signer.did] = self._writer

    def decide(self) -> Decided:
        crashpoint("command.loaded")
        for chunk in self._chunks:
            for checked in chunk.records:
                self._rule(chunk, checked)
        crashpoint("command.decided")
        return Decided(
            shards=[chunk.shard for chunk in self._chunks],
            now=self._now,
            seal=self._seal,
            relied=self._relied,
            looked_at=self._looked_at(),
            changed_keys=self._changed,
            answers=self._table.answers,
            repeats=self._repeats,
            policies={stream for stream in self._decider.aggregates.recorded if is_policy_stream(stream)},
        )

    def _looked_at(self) -> dict[str, tuple[int, int]]:
        aggregates, mine = self._decider.aggregates, {chunk.shard.id for chunk in self._chunks}
        foreign = {s: self._decider.shard_id_of(s) for s in aggregates.touched.keys() - aggregates.recorded.keys()}
        return {stream: (shard, aggregates.touched[stream]) for stream, shard in foreign.items() if shard not in mine}

    def _rule(self, chunk: Chunk, checked: Checked) -> None:
        if not checked.is_genuine or checked.record is None:
            self._refuse_in_place(chunk, checked, checked.problem)
            return
        identity = _identity(checked.record)
        if known := self._known.get(identity):
            if known.hash == checked.record.hash:
                self._repeats.append((known.shard, known.number))
            else:
                conflict = RefusalReason(name="Conflict", text="another command of this source has this id", field="id")
                self._refuse_in_place(chunk, checked, conflict)
            return
        of_stranger = self._is_strangers(checked)
        ruling = Ruling(checked, identity, chunk.next_number, checked.record.id, of_stranger=of_stranger)
        self._known[identity] = Known(checked.record.hash, chunk.shard.id, ruling.number)
        self._judge(chunk, ruling, checked.record, checked.command)
        chunk.rulings.append(ruling)

    def _refuse_in_place(self, chunk: Chunk, checked: Checked, problem: RefusalReason | None) -> None:
        place = _place(chunk.shard, checked.incoming.offset)
        of_stranger = self._is_strangers(checked)
        chunk.rulings.append(Ruling(checked, place, chunk.next_number, place, refusal=problem, of_stranger=of_stranger))

    def _is_strangers(self, checked: Checked) -> bool:
        return checked.record is None or not checked.is_genuine or checked.record.source not in self._authority

    def _judge(self, chunk: Chunk, ruling: Ruling, record: CommandRecord, command: Command | None) -> None:
        if record.expires is not None and self._now > record.expires:
            ruling.refusal = RefusalReason(
                name="Expired", text=f"the command expired at {rfc3339(record.expires)}", field="expires"
            )
            return
        if command is None:
            ruling.refusal = ruling.checked.problem
            return
        if (problem := spelled_otherwise(record, command, self._decider.founding.chain_id)) is not None:
            ruling.refusal = problem
            return
        known = self._authority.get(record.source)
        if record.source not in self._changed:
            self._relied[record.source] = known
        permit = permitted(known, type(command), record, self._now)
        if isinstance(permit, RefusalReason):
            ruling.refusal = permit
            return
        ruling.permit = permit
        self._ask(chunk, ruling, command, record, known)

    def _ask(self, chunk: Chunk, ruling: Ruling, command: Command, record: CommandRecord, known: KeyAuthority | None) -> None:
        service, aggregates = self._decider.service(command.wire.context), self._decider.aggregates
        addressed: Aggregate[Any] | None = None
        is_poison = False
        try:
            person = known.holder if known else record.source
            addressed = service.decide(command, Asked(record, self._now, person, self._table, self._recorded.stands))
        except Refused as refused:
            ruling.refusal = RefusalReason(name=type(refused).__name__, text=str(refused)[:1000], field=refused.field)
        except Exception as error:  # the message is bad or we are wrong: a poison command is refused with its reason
            # Deciding reads, too: that the world did not answer, or has other tables, is no fault of the command.
            if isinstance(error, StreamMoved) or _is_the_databases(error):
                raise
            log.exception("%s %s is poison", command.wire.type, record.id)
            is_poison = True
            ruling.refusal = RefusalReason(name="Poison", text=f"deciding failed with {type(error).__name__}")
        if ruling.refusal is not None:
            # What failed in `apply` has assigned a part and has nothing pending.
            if service.addressed is not None and (service.addressed.pending or is_poison):
                aggregates.undo(service.addressed)
            return
        if addressed is not None:
            ruling.events = aggregates.take(addressed)
            ruling.first_version = addressed.version - len(ruling.events) + 1
        self._note_authority(service, chunk, ruling)
        chunk.events += len(ruling.events)

    def _note_authority(self, service: Service, chunk: Chunk, ruling: Ruling) -> None:
        for ordinal, event in enumerate(ruling.events):
            for change in service.authority(event, self._now):
                ruling.changes_authority = True
                self._changed.add(change.key)
                sequence = chunk.shard.next_sequence + chunk.events + ordinal
                known = self._known_key(change.key)
                self._relied.setdefault(change.key, known)
                followed = self._known_key(change.follows) if isinstance(change, Grant) and change.follows else None
                self._authority[change.key] = changed(known, change, chunk.shard.events, sequence, followed)

    def _known_key(self, key: str) -> KeyAuthority | None:
        known = self._authority.get(key)
        if known is None and key not in self._absent:
            known = self._decider.authority_of([key]).get(key)
            if known is None:
                self._absent.add(key)
            else:
                self._authority[key] = known
        return known

    def _relied_key(self, key: str) -> KeyAuthority | None:
        """As a rule asks for it: what it is told must still be so when the batch commits."""
        known = self._known_key(key)
        if key not in self._changed:
            self._relied.setdefault(key, known)
        return known

    # Sealing

    def _seal(self, now: datetime) -> Sealed:
        self._require_writer(now)
        sealed = Sealed(shards=[])
        self._decider.aggregates.snapshot(sealed)
        for chunk in self._chunks:
            sealed.shards.append((chunk.shard, self._seal_chunk(chunk, now, sealed)))
        crashpoint("command.signed")
        return sealed

    def _require_writer(self, now: datetime) -> None:
        """Before anything is signed. What ends the writer is the last that it signs: its batch has one time."""
        for chunk in self._chunks:
            for ruling in chunk.rulings:
                if not is_writer(self._writer, stream := _subject(chunk.shard, ruling.checked), now):
                    raise NotTheWriter(self._decider.signer.did, stream)

    def _changes(
        self, stream: str, ruling: Ruling, now: datetime, places: Sequence[tuple[str, int]]
    ) -> Iterator[tuple[AuthorityChange, str, int]]:
        # As of the time that the record carries, so that anybody who has the log finds the same ends of roles.
        service = self._decider.service(stream.partition("/")[0])
        for event, (shard, sequence) in zip(ruling.events, places, strict=True):
            yield from ((change, shard, sequence) for change in service.authority(event, now))

    def _seal_chunk(self, chunk: Chunk, now: datetime, sealed: Sealed) -> Shard:
        """Number, chain and sign what one shard decided; its counter row as it will be."""
        shard, time = chunk.shard, rfc3339(now)
        sequence, prevhash = shard.next_sequence, shard.last_hash
        name, source, sign = shard.events, self._decider.signer.did, self._decider.signer.sign
        for ruling in chunk.rulings:
            record, positions = ruling.checked.record, []
            for ordinal, event in enumerate(ruling.events):
                assert record is not None
                version, event_name = ruling.first_version + ordinal, event_id(record.source, record.id, ordinal)
                value = Record.encode(
                    event,
                    id=event_name,
                    command=record, source=source, time=time, shard=name, sequence=sequence,
                    streamversion=version, prevhash=prevhash,
                )  # fmt: skip
                if len(value) > MAX_RECORD_BYTES:
                    raise TooLarge(ruling.checked)
                sealed.events.append(
                    EventRow(
                        shard.id, sequence, record.subject, version, event.wire.type, value, sign(value), record.traceparent
                    )
                )
                positions.append((sequence, event_name, version))
                prevhash = hashlib.sha256(value).hexdigest()
                sequence += 1
            if ruling.changes_authority and record is not None:
                sealed.authority += self._changes(record.subject, ruling, now, [(name, place[0]) for place in positions])
            command = self._outcome(shard, ruling, time, positions)
            if len(command.outcome) > MAX_RECORD_BYTES:
                raise TooLarge(ruling.checked)
            sealed.commands.append(command)
        last = chunk.records[-1].incoming
        return replace(
            shard,
            next_sequence=sequence,
            last_hash=prevhash,
            last_time=time,
            next_outcome=chunk.next_number,
            position=last.offset + 1,
            position_hash=hashlib.sha256(last.value or b"").hexdigest(),
        )

    def _outcome(self, shard: Shard, ruling: Ruling, time: str, positions: Sequence[tuple[int, str, int]]) -> CommandRow:
        checked, record = ruling.checked, ruling.checked.record
        permit = ruling.permit
        value = checked.incoming.value or b""
        digest = record.hash if record is not None else hashlib.sha256(value).hexdigest()
        data: dict[str, Any] = {"commandhash": digest}
        if ruling.refusal is None:
            data["events"] = [
                {"shard": shard.events, "sequence": sequence, "id": name, "streamversion": version}
                for sequence, name, version in positions
            ]
        else:
            data["refusal"] = ruling.refusal.model_dump(exclude_none=True)
        data["time"] = time
        data["authority"] = [] if permit is None else authority_positions([(permit.shard, permit.sequence)])
        if not checked.is_genuine and record is not None:
            data["claimed"] = f"{record.source} {record.id}"
        actor = record.source if record is not None and checked.is_genuine else ""
        subject = _subject(shard, checked)
        outcome = encode_outcome(
            "Accepted" if ruling.refusal is None else "Refused", data,
            id=outcome_id(actor, ruling.causation), source=self._decider.signer.did, context=shard.context, subject=subject,
            time=time, network=self._decider.network, correlationid=(record and record.correlationid) or ruling.causation,
            causationid=ruling.causation, partition=shard.partition, sequence=ruling.number, actor=actor,
        )  # fmt: skip
        return CommandRow(
            shard.id, ruling.number, ruling.identity, digest, subject, value[:MAX_RECORD_BYTES],
            record.signature if record is not None else "", outcome,
            None if ruling.refusal is None else self._decider.signer.sign(outcome),
            record.traceparent if record is not None else None,
            kept=True if ruling.of_stranger and ruling.refusal is not None else None,
        )  # fmt: skip


def _is_the_databases(error: Exception) -> bool:
    """Whether the database did not answer, or refused for another reason than the values that it was asked with."""
    return is_transient(error) or (isinstance(error, DBAPIError) and not isinstance(error, DataError))


def _identity(record: CommandRecord) -> str:
    return f"{record.id} {record.source}"


def _keys_named(record: CommandRecord, command: Command) -> Iterator[str]:
    """Keys of which a rule will ask who they are: one look for all of a batch."""
    if record.subject.startswith(KEYS):
        yield record.subject.removeprefix(KEYS)
        if isinstance(command, RotateKey):
            yield command.successor


def _place(shard: Shard, offset: int) -> str:
    """The name of a record that bears no id that could be believed. The incarnation tells two topics of one name apart."""
    return f"{shard.context}.commands/{shard.partition}@{offset}" + (f"#{shard.incarnation}" if shard.incarnation else "")


def _subject(shard: Shard, checked: Checked) -> str:
    """The key of the outcome: the command's, where that can be a key."""
    if checked.record is not None:
        return checked.record.subject
    key = (checked.incoming.key or b"").decode("utf-8", "replace")
    try:
        return StreamName.checked(key)
    except ValueError:
        return f"{shard.context}/unreadable/{shard.partition}"
