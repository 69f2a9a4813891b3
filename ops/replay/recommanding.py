"""Recommand: recorded commands into fresh aggregates in memory, in the order in which they were decided.

What the door refused (a signature, a role, an expiry) is passed over: no rule of the context decided it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import orjson

from adapters.keys import verify
from adapters.replay.cuts import BadPosition, Cut
from adapters.replay.raw import RawRecord, whole_topic
from adapters.replay.sources import RangeMissing
from adapters.replay.watching import Cause
from commands import NOT_RECORDED, Asked, AuthorityChange, AuthorityTable, Service, service_class
from contracts import CommandRecord, Event, Record, command_class, instant, parse_command, parse_event, read_event
from domain import Aggregate, Refused
from ops.replay.evidence import Beginning, Evidence
from ops.replay.persons import persons_of
from ops.replay.verdict import Decision, Verdict, compared

A = TypeVar("A", bound=Aggregate[Any])
World = Callable[[], AbstractContextManager[None]]
"""Within it the rules have the parameters that are tried."""

# The worker's own words for what is no rule's fault.
_OURS = frozenset({"Poison", "TooLarge"})
EARLIER_VERSION = "EarlierVersion"


async def recommand(evidence: Evidence, context: str, world: World) -> Verdict:
    """Decide the window's commands again, under the recorded parameters and under those of the world.

    Raises RangeMissing where a command is no longer in its topic: they are kept for a week.
    """
    if evidence.client is None:
        raise BadPosition("commands and outcomes are in Kafka only, not in the audit log: --source kafka")
    outcomes = await _outcomes(evidence, context)
    ruled = [outcome for outcome in outcomes if outcome.is_by_rule]
    commands = await _commands(evidence, context, ruled)
    asked = [outcome for outcome in ruled if _is_accepted_still(commands[outcome.identity])]
    events = dict(await _events(evidence, context))
    recorded = [_recorded(outcome, events) for outcome in asked]
    persons = await persons_of(evidence, {actor for _, actor in commands}, {place for o in asked for place in o.permits})
    again = list(_World(context, evidence.start, events, persons, evidence.began).decide(asked, commands))
    with world():
        tried = list(_World(context, evidence.start, events, persons, evidence.began).decide(asked, commands))
    verdict = compared(recorded, tried, again)
    for outcome in outcomes:
        if not outcome.is_by_rule:
            verdict.passed_over[outcome.refusal] = verdict.passed_over.get(outcome.refusal, 0) + 1
    if before := len(ruled) - len(asked):
        verdict.passed_over[EARLIER_VERSION] = before
    return verdict


def _is_accepted_still(record: CommandRecord) -> bool:
    """What was said in an earlier version of the language is refused at the door today, and no rule could read it."""
    return record.dataschema == command_class(record.type).wire.dataschema


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one command. `number` is its place among the outcomes of its partition, the order of deciding."""

    shard: str
    number: int
    document: Mapping[str, Any]

    @property
    def data(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document["data"]
        return found

    @property
    def refusal(self) -> str:
        """Its name; empty for an acceptance."""
        return str(self.data["refusal"]["name"]) if "refusal" in self.data else ""

    def names(self, key: str, events: Mapping[tuple[str, int], bytes]) -> bool:
        """Whether what was recorded names the key, as one that might do what was asked about it then."""
        said = b"".join(events.get(place, b"") for place in self.places)
        return self.refusal not in {"NotEntitled", "NotAllowed"} and (not said or key.encode() in said)

    def stood(self, record: Record) -> bool:
        """Whether what was carried was found in the store: it is not asked again."""
        del record
        return NOT_RECORDED not in str(self.data.get("refusal", {}).get("text", ""))

    @property
    def is_by_rule(self) -> bool:
        """An acceptance, or a refusal of a command that was permitted: a permit names the event that gave the role."""
        return bool(self.data["authority"]) and self.refusal not in _OURS

    @property
    def identity(self) -> tuple[str, str]:
        return self.document["causationid"], self.document["actor"]

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(event["shard"], event["sequence"]) for event in self.data.get("events", ())]

    @property
    def permits(self) -> list[tuple[str, int]]:
        """The events that gave the role."""
        return [(place["shard"], place["sequence"]) for place in self.data["authority"]]

    @property
    def order(self) -> tuple[str, str, int]:
        """By time, then as each shard decided. A batch has one time for all of its shards, and takes them by name."""
        return self.data["time"], self.shard, self.number

    def cause(self) -> Cause:
        document = self.document
        return Cause(
            document["id"], document["type"], self.shard, self.number, self.data["time"], document["actor"], document["subject"]
        )


async def _outcomes(evidence: Evidence, context: str) -> list[_Outcome]:
    """Of the window: those whose events lie in it, and refusals that were decided between such."""
    assert evidence.client is not None
    found: list[_Outcome] = []
    for partition, records in (await whole_topic(evidence.client, f"{context}.outcomes")).items():
        shard, hashed = f"{context}.events/{partition}", hashlib.sha256()
        start, end = evidence.start.get(shard, 0), evidence.end.get(shard, 0)
        for outcome, is_in_question in _until(shard, _in_order(records), start, end):
            if is_in_question:
                found.append(outcome)
            hashed.update(orjson.dumps(outcome.document["id"]))
        evidence.saw(f"{context}.outcomes/{partition}", hashed.hexdigest())
    return sorted(found, key=lambda outcome: outcome.order)


def _until(shard: str, outcomes: Iterator[_Outcome], start: int, end: int) -> Iterator[tuple[_Outcome, bool]]:
    """Those before the shard's event `end`, and whether each lies in the window. Raises RangeMissing where some are to come."""
    reached = 0
    for outcome in outcomes:
        places = outcome.places
        if places and places[0][1] >= end:
            break
        yield outcome, places[0][1] >= start if places else reached >= start
        reached = places[-1][1] + 1 if places else reached
    if reached < end:
        # Outcomes have a topic of their own, and nothing says that it is as far as that of the events.
        raise RangeMissing(
            f"{shard} is to be judged to {end}, and the outcomes that are there end at {reached}: ask again soon"
        )


def _in_order(records: Sequence[RawRecord]) -> Iterator[_Outcome]:
    """Each once: an outcome is repeated when its command returns."""
    known: dict[int, _Outcome] = {}
    for record in records:
        document = orjson.loads(record.value)
        known.setdefault(int(document["sequence"]), _Outcome(document["shard"], int(document["sequence"]), document))
    for number in range(len(known)):
        if number not in known:
            raise RangeMissing(f"outcome {number} is not in its topic, though later ones are: it was deleted or compacted")
        yield known[number]


async def _commands(evidence: Evidence, context: str, asked: Sequence[_Outcome]) -> dict[tuple[str, str], CommandRecord]:
    assert evidence.client is not None
    wanted = {outcome.identity: outcome.data["commandhash"] for outcome in asked}
    found: dict[tuple[str, str], CommandRecord] = {}
    for records in (await whole_topic(evidence.client, f"{context}.commands")).values():
        for raw in records:
            record = _parsed(raw)
            if record is not None and wanted.get((record.id, record.source)) == record.hash:
                found[record.id, record.source] = record
    if missing := wanted.keys() - found.keys():
        raise RangeMissing(
            f"{len(missing)} of {len(wanted)} commands are no longer in {context}.commands, among them {min(missing)[0]}; "
            "choose a later --from"
        )
    return found


def _parsed(raw: RawRecord) -> CommandRecord | None:
    try:
        return parse_command(raw.value, raw.key, raw.headers)
    except ValueError:
        return None


async def _events(evidence: Evidence, context: str) -> Iterator[tuple[tuple[str, int], bytes]]:
    shards = await evidence.collected([context])
    return (((shard, n), value) for shard, values in shards.values.items() for n, value in enumerate(values))


def _recorded(outcome: _Outcome, events: Mapping[tuple[str, int], bytes]) -> Decision:
    said = [read_event(parse_event(events[place]).document) for place in outcome.places if place in events]
    return _decision(outcome, said, outcome.refusal)


def _decision(outcome: _Outcome, events: Sequence[Event], refusal: str) -> Decision:
    command, actor = outcome.identity
    said = f"refused: {refusal}" if refusal else f"accepted: {_told(events)}"
    return Decision(command, said, outcome.cause(), not refusal, {actor: {"refused" if refusal else "accepted": 1}})


def _told(events: Sequence[Event]) -> str:
    """The events by name, and what they say by its digest."""
    if not events:
        return "nothing new"
    digest = hashlib.sha256(b"\n".join(event.json_bytes() for event in events)).hexdigest()[:12]
    return f"{', '.join(event.wire.type for event in events)} ({digest})"


@dataclass(slots=True)
class _AskedThen(Asked):
    """Where no authority table is replayed, what the worker found of a key is not found again: it is as its outcome says."""

    named: Callable[[str], bool] = lambda _key: False

    def may(self, key: str, role: str, stream: str) -> bool:
        return self.named(key) if self.table is None else Asked.may(self, key, role, stream)


@dataclass
class _World:
    """A context's aggregates in memory: as recorded before the window, as decided in it."""

    context: str
    start: Cut
    events: Mapping[tuple[str, int], bytes]
    persons: Mapping[str, str]
    """Key to the first key of its chain of rotations."""
    began: Beginning | None = None
    """Of identity: its rules ask who may act, as of each decision."""
    _streams: dict[str, list[Event]] = field(default_factory=dict)
    _held: dict[str, Aggregate[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for (shard, sequence), value in sorted(self.events.items()):
            if sequence < self.start.get(shard, 0):
                record = parse_event(value)
                self._streams.setdefault(record.subject, []).append(read_event(record.document))
        self._service = service_class(self.context)(self, verify)
        # Only the context that says who may act is replayed with a table; of others nothing is here to fill it.
        began = self.began if type(self._service).authority is not Service.authority else None
        self._table = None if began is None else AuthorityTable(began[0])
        for n, grant in enumerate(began[1] if began else ()):
            self._change(grant, "genesis", n)
        before = [parse_event(value) for (shard, n), value in self.events.items() if n < self.start.get(shard, 0)]
        # What changes authority draws its time under the lock of the keys that it changes: the order of time is theirs.
        for record in sorted(before, key=lambda record: (record.moment, record.shard, record.sequence)):
            self._note(read_event(record.document), record.moment, record.shard, record.sequence)

    def _note(self, event: Event, moment: datetime, shard: str, sequence: int) -> None:
        for change in self._service.authority(event, moment):
            self._change(change, shard, sequence)

    def _change(self, change: AuthorityChange, shard: str, sequence: int) -> None:
        if self._table is not None:
            self._table.apply(change, shard, sequence)

    def load(self, kind: type[A], stream: str) -> A:
        """As `commands.Streams`."""
        found = self._held.get(stream)
        if found is None:
            found = self._held[stream] = kind(stream)
            for event in self._streams.get(stream, ()):
                found.replay(event)
        if not isinstance(found, kind):
            raise TypeError(f"{stream} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    def decide(self, asked: Sequence[_Outcome], commands: Mapping[tuple[str, str], CommandRecord]) -> Iterator[Decision]:
        for outcome in asked:
            record = commands[outcome.identity]
            refusal, events = "", list[Event]()
            try:
                command = command_class(record.type).read(record.data)
                moment = instant(outcome.data["time"])
                named = partial(outcome.names, events=self.events)
                addressed = self._service.decide(
                    command, _AskedThen(record, moment, self.persons[record.source], self._table, outcome.stood, named)
                )
                events = self._take(addressed)
                # Where another number is recorded now than then, they have no places.
                places = outcome.places if len(outcome.places) == len(events) else [("tried", n) for n in range(len(events))]
                for event, place in zip(events, places, strict=True):
                    self._note(event, moment, *place)
            except Refused as refused:
                refusal = type(refused).__name__
                self._undo(self._service.addressed)
            except Exception as error:
                # As the worker: a command at which deciding fails is refused, and those after it are decided.
                refusal = f"Poison, {type(error).__name__}"
                self._forget(self._service.addressed)
            yield _decision(outcome, events, refusal)

    def _take(self, addressed: Aggregate[Any] | None) -> list[Event]:
        if addressed is None:
            return []
        events, addressed.pending = addressed.pending, []
        self._streams.setdefault(addressed.stream, []).extend(events)
        return events

    def _undo(self, addressed: Aggregate[Any] | None) -> None:
        """A refusal after something was recorded: it never was."""
        if addressed is not None and addressed.pending:
            self._forget(addressed)

    def _forget(self, addressed: Aggregate[Any] | None) -> None:
        if addressed is not None:
            self._held.pop(addressed.stream, None)
