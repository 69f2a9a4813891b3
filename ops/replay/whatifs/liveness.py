"""What if more, or less, of an epoch could be missed: epochs closed again from what they recorded."""

from collections import Counter
from collections.abc import Iterator

from adapters.replay.watching import Cause
from contracts import Event, Record
from contracts.liveness import EARLY_SECONDS, EXCUSE_PERCENT, LATE_SECONDS, SLOTS_PER_EPOCH, EpochClosed
from domain.liveness import BREACH_PERCENT, is_breach
from ops.replay.constants import constants
from ops.replay.evidence import Evidence
from ops.replay.recommanding import recommand
from ops.replay.refolding import refold
from ops.replay.registry import Parameter, Values, WhatIf
from ops.replay.verdict import Decision, Verdict, compared
from projections.liveness import uptime

_BREACH = Parameter("breach_percent", BREACH_PERCENT, "missing more of an epoch, in per cent of its slots, is a breach")
_EXCUSE = Parameter("excuse_percent", EXCUSE_PERCENT, "a slot that more of the fleet missed, in per cent, is excused")


def whatifs() -> Iterator[WhatIf]:
    yield WhatIf(
        "redecide", "epochs", "which devices would have been in breach", ("liveness",), (_BREACH, _EXCUSE), _epochs
    )  # fmt: skip
    yield WhatIf(
        "refold", "uptime", "what the view of uptime would show", ("liveness",), (_BREACH,), _uptime
    )  # fmt: skip
    yield WhatIf(
        "recommand", "beats", "which heartbeats and closings would have been accepted", ("liveness",),
        (
            Parameter("early_seconds", EARLY_SECONDS, "how long before its slot a beat counts"),
            Parameter("late_seconds", LATE_SECONDS, "how long after its slot a beat counts"),
            _EXCUSE,
        ),
        _beats,
    )  # fmt: skip


async def _beats(evidence: Evidence, values: Values) -> Verdict:
    tried = {name.upper(): value for name, value in values.items()}
    return await recommand(evidence, "liveness", lambda: constants(("domain.liveness",), tried))


async def _uptime(evidence: Evidence, values: Values) -> Verdict:
    percent = values["breach_percent"]

    def variant(event: Event, _record: Record) -> Event:
        if not isinstance(event, EpochClosed):
            return event
        return event.model_copy(update={"is_breach": is_breach(event.missed, event.expected - event.excused, percent)})

    return await refold(evidence, uptime(), variant)


Closing = tuple[EpochClosed, Record]


async def _epochs(evidence: Evidence, values: Values) -> Verdict:
    """A slot's absences are counted over the devices whose epoch was closed: those that were expected in it."""
    everything = (await evidence.collected(["liveness"])).all_events()
    closings = [(event, record) for event, record in everything if isinstance(event, EpochClosed)]
    in_question = [closing for closing in closings if evidence.is_in_question(closing[1])]
    absences = _absences(closings)
    recorded = [_decision(event, record, event.excused, event.missed, event.is_breach) for event, record in in_question]
    again = _world(in_question, absences, BREACH_PERCENT, EXCUSE_PERCENT)
    tried = _world(in_question, absences, values["breach_percent"], values["excuse_percent"])
    return compared(recorded, tried, again)


def _world(closings: list[Closing], absences: dict[int, tuple[int, int]], breach: int, excuse: int) -> Iterator[Decision]:
    for event, record in closings:
        absent = [slot for slot in range(event.first_slot, event.end_slot) if not _has(event, slot)]
        excused = sum(absences[slot][1] * 100 > absences[slot][0] * excuse for slot in absent)
        missed = len(absent) - excused
        yield _decision(event, record, excused, missed, is_breach(missed, event.expected - excused, breach))


def _absences(closings: list[Closing]) -> dict[int, tuple[int, int]]:
    """Slot to how many devices were expected in it, and how many of them were not heard."""
    expected: Counter[int] = Counter()
    absent: Counter[int] = Counter()
    for event, _ in closings:
        for slot in range(event.first_slot, event.end_slot):
            expected[slot] += 1
            absent[slot] += not _has(event, slot)
    return {slot: (count, absent[slot]) for slot, count in expected.items()}


def _has(event: EpochClosed, slot: int) -> bool:
    return bool(int(event.bitmap, 16) >> (SLOTS_PER_EPOCH - 1 - slot % SLOTS_PER_EPOCH) & 1)


def _decision(event: EpochClosed, record: Record, excused: int, missed: int, is_breach: bool) -> Decision:
    said = f"{'breach' if is_breach else 'kept'}: {missed} of {event.expected} missed, {excused} excused"
    effects = {record.stream_id: {"breaches": int(is_breach), "missed_slots": missed}}
    return Decision(f"{record.stream_id} epoch {event.epoch}", said, Cause.of(record), not is_breach, effects)
