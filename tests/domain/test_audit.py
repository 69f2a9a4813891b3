"""What must not be erased is not; what matters takes two persons; a naive model agrees after thousands of steps."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts import Digest, EventId, Label, SealingKeyId
from contracts.audit import (
    AddWitness,
    ConfirmErasure,
    ErasedKey,
    ErasureDeferred,
    ErasureOrdered,
    ErasureProposed,
    ExpireRetention,
    HaltShard,
    HoldId,
    HoldPlaced,
    HoldReleased,
    KeyNoted,
    LogChangeProposed,
    NoteKey,
    OrderErasure,
    PersonErased,
    PlaceHold,
    PublishSchema,
    ReleaseHold,
    ReportTampering,
    ResumeErasure,
    ResumeShard,
    RetentionExpired,
    RetireWitness,
    SchemaPublished,
    Scope,
    ShardHalted,
    ShardResumed,
    Urn,
    WitnessAdded,
    WitnessKey,
)
from domain import Refused
from domain.audit import (
    AddressedWrongly,
    AlreadyErased,
    AlreadyHeld,
    AlreadyKnown,
    AlreadyNoted,
    AlreadyPublished,
    KeyUnknown,
    NotDue,
    NotHalted,
    NotHeld,
    NotKnown,
    NotOrdered,
    NotShredded,
    Released,
    SamePerson,
    StillBarred,
    UnderHold,
    VersionNotNext,
)
from domain.audit.erasing import Erasure, Holds, NotedKey, Retention, end_of
from domain.audit.log import Log, Schema, Shard
from tests.domain.given import did, digest, given, refused, then

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ANN, BEN = did("ann"), did("ben")


def key(n: int) -> SealingKeyId:
    return SealingKeyId(f"{n:032x}")


def erased(n: int, retention_class: Any = "none", year: int = 2026) -> ErasedKey:
    return ErasedKey(key=key(n), retention_class=retention_class, year=year)


def event(n: int) -> EventId:
    return EventId(f"00000000-0000-5000-8000-{n:012x}")


def a_hold(name: str = "m1", *keys: int) -> PlaceHold:
    return PlaceHold(hold=HoldId(name), scope=Scope(keys=tuple(map(key, keys))), matter=Label("case 7"))


def placed(name: str = "m1", *keys: int, by: Any = ANN) -> HoldPlaced:
    command = a_hold(name, *keys)
    return HoldPlaced(hold=command.hold, scope=command.scope, matter=command.matter, placed_by=by, person=by)


def released(name: str = "m1") -> HoldReleased:
    return HoldReleased(hold=HoldId(name), released_by=BEN)


def holds(*events: Any) -> Holds:
    return given(Holds, "audit/hold/test", *events)


def an_order(*keys: ErasedKey | SealingKeyId) -> OrderErasure:
    return OrderErasure(keys=keys, basis="request")


def a_note(of: ErasedKey) -> NoteKey:
    return NoteKey(retention_class=of.retention_class, year=of.year, cause=event(90))


def noted(of: ErasedKey) -> KeyNoted:
    return KeyNoted(**dict(a_note(of)))


def made(*keys: ErasedKey) -> Mapping[str, NotedKey]:
    """What is noted of the keys; without any, of each that it is of no class."""
    of = {entry.key: entry for entry in keys} or {key(n): erased(n) for n in range(10)}
    return {name: given(NotedKey, f"audit/key/{name}", noted(entry)) for name, entry in of.items()}


RESUME = ResumeErasure()


def proposed(*keys: ErasedKey) -> ErasureProposed:
    return ErasureProposed(keys=keys, basis="request", proposed_by=ANN, person=ANN)


def ordered(*keys: int) -> ErasureOrdered:
    return ErasureOrdered(keys=tuple(map(key, keys)), basis="request")


def erasure(*events: Any) -> Erasure:
    return given(Erasure, "audit/erasure/e1", *events)


def test_a_hold_is_placed_by_one_officer() -> None:
    register = holds()

    then(register, lambda: register.place(a_hold(), actor=ANN, person=ANN), placed())


def test_a_hold_is_released_by_another_officer_than_the_one_who_placed_it() -> None:
    register = holds(placed())

    refused(register, lambda: register.release(ReleaseHold(hold=HoldId("m1")), actor=ANN, person=ANN), SamePerson)
    then(register, lambda: register.release(ReleaseHold(hold=HoldId("m1")), actor=BEN, person=BEN), released())


def test_a_hold_that_is_unknown_released_or_of_something_else_is_refused() -> None:
    register = holds(placed("m1", 1), placed("m2"), released("m2"))

    refused(register, lambda: register.release(ReleaseHold(hold=HoldId("m9")), actor=BEN, person=BEN), NotHeld)
    refused(register, lambda: register.place(a_hold("m1", 2), actor=ANN, person=ANN), AlreadyHeld)
    refused(register, lambda: register.place(a_hold("m2"), actor=ANN, person=ANN), Released)


def test_a_hold_without_keys_bars_every_erasure() -> None:
    """Nobody knows which keys a stream will yet need."""
    assert holds(placed()).against([key(5)]) == ["m1"]
    assert holds(placed("m1", 5)).against([key(5), key(6)]) == ["m1"]
    assert holds(placed("m1", 5)).against([key(6)]) == []
    assert holds(placed(), released()).against([key(5)]) == []


def test_an_erasure_takes_the_same_order_by_two_officers() -> None:
    one = erasure()
    one.order(an_order(erased(1)), holds(), made(), actor=ANN, person=ANN, now=NOW)
    first = list(one.pending)

    with pytest.raises(SamePerson):
        one.order(an_order(erased(1)), holds(), made(), actor=ANN, person=ANN, now=NOW)
    one.order(an_order(erased(1)), holds(), made(), actor=BEN, person=BEN, now=NOW)
    one.order(an_order(erased(1)), holds(), made(), actor=BEN, person=BEN, now=NOW)

    assert first == [proposed(erased(1))]
    assert one.pending == [*first, ordered(1)]


def test_the_rotated_key_of_one_officer_is_no_second_officer() -> None:
    """Neither orders it what he proposed, nor releases what he placed, nor makes his own change of the log."""
    register, one, log = holds(placed()), erasure(proposed(erased(1))), given(Log, "audit/log/test")
    log.change(WITNESS, digest=digest("add w1"), actor=ANN, person=ANN)
    release, an_erasure = ReleaseHold(hold=HoldId("m1")), an_order(erased(1))

    refused(register, lambda: register.release(release, actor=BEN, person=ANN), SamePerson)
    refused(one, lambda: one.order(an_erasure, holds(), made(), actor=BEN, person=ANN, now=NOW), SamePerson)
    with pytest.raises(SamePerson):
        log.change(WITNESS, digest=digest("add w1"), actor=BEN, person=ANN)


def test_a_second_officer_who_orders_something_else_is_refused() -> None:
    one = erasure(proposed(erased(1)), ordered(1))

    refused(
        one, lambda: one.order(an_order(erased(1), erased(2)), holds(), made(), actor=BEN, person=BEN, now=NOW), AlreadyErased
    )


def test_one_officer_does_not_occupy_the_name_of_a_persons_erasure() -> None:
    """His order alone was in the way of every other one under that name."""
    one = erasure(proposed(erased(1)))
    right = an_order(erased(1), erased(2))

    one.order(right, holds(), made(), actor=BEN, person=BEN, now=NOW)
    assert not one.ordered
    one.order(right, holds(), made(), actor=ANN, person=ANN, now=NOW)

    assert one.ordered
    assert [entry.key for entry in one.keys] == [entry.key for entry in right.keys]


def test_a_hold_defers_an_erasure_and_its_end_lets_it_go_on() -> None:
    """A right is delayed, not lost."""
    one, register = erasure(proposed(erased(1))), holds(placed())
    one.order(an_order(erased(1)), register, made(), actor=BEN, person=BEN, now=NOW)

    with pytest.raises(StillBarred):
        one.resume(RESUME, register, made(), now=NOW)
    one.resume(RESUME, holds(placed(), released()), made(), now=NOW)

    assert one.pending == [
        ErasureDeferred(keys=(key(1),), basis="request", bars=(Label("hold m1"),)),
        ordered(1),
    ]


def test_what_a_key_was_made_for_is_noted_once() -> None:
    one = given(NotedKey, f"audit/key/{key(1)}")

    then(one, lambda: one.note(a_note(erased(1, "kyc", 2024))), noted(erased(1, "kyc", 2024)))
    refused(one, lambda: one.note(a_note(erased(1, "none", 2024))), AlreadyNoted)
    refused(one, lambda: one.note(a_note(erased(1, "kyc", 2020))), AlreadyNoted)


def test_an_officer_does_not_shorten_how_long_a_key_is_kept() -> None:
    """Two of them say that it is of no class; it was made for seven years."""
    one, wrong = erasure(), an_order(erased(1, "none", 2020))
    said = made(erased(1, "financial", 2026))

    for officer in (ANN, BEN):
        one.order(wrong, holds(), said, actor=officer, person=officer, now=NOW)

    deferred = one.pending[-1]
    assert one.pending[0] == proposed(erased(1, "financial", 2026))
    assert isinstance(deferred, ErasureDeferred)
    assert deferred.bars == ("class financial",)


def test_an_older_proposal_is_carried_out_by_what_its_key_was_made_for() -> None:
    """It states what an officer had said."""
    one = erasure(proposed(erased(1, "none", 2020)), ordered(1))

    one.resume(RESUME, holds(), made(erased(1, "kyc", 2026)), now=NOW)

    assert [type(found) for found in one.pending] == [ErasureDeferred]


def test_a_key_of_which_nothing_is_noted_yet_is_not_erased() -> None:
    unknown = {key(1): given(NotedKey, f"audit/key/{key(1)}")}
    one, begun = erasure(), erasure(proposed(erased(1)), ordered(1))

    refused(one, lambda: one.order(an_order(key(1)), holds(), unknown, actor=ANN, person=ANN, now=NOW), KeyUnknown)
    refused(begun, lambda: begun.resume(RESUME, holds(), unknown, now=NOW), KeyUnknown)


def test_a_hold_on_a_person_covers_keys_that_are_made_later() -> None:
    """When it was placed the person had one key; the vault says whose the other one is before it destroys it."""
    hers, his = Digest("a" * 64), Digest("b" * 64)
    scope = Scope(keys=(key(1),), persons=(hers,))
    register = given(Holds, "audit/hold/test", placed().model_copy(update={"scope": scope}))
    retention = given(Retention, "audit/class/none.2026")
    expiring = ExpireRetention(keys=(key(2),), shredded=(event(1),), tags=(hers,))

    for tag, barred in ((hers, True), (his, False)):
        one = erasure(proposed(erased(2)), ordered(2))
        one.resume(ResumeErasure(tags=(tag,)), register, made(), now=NOW)
        assert [type(found) for found in one.pending] == [ErasureDeferred] * barred
    assert register.against([key(1)]) == ["m1"]
    assert register.against([key(2)]) == []
    refused(retention, lambda: retention.expire(expiring, register, now=NOW), UnderHold)


def test_a_retention_class_defers_until_its_time_is_over() -> None:
    one = erasure(proposed(erased(1, "kyc", 2020), erased(3, "kyc", 2022), erased(2, "ai-log", 2026)))
    one.order(
        an_order(erased(1, "kyc", 2020), erased(3, "kyc", 2022), erased(2, "ai-log", 2026)),
        holds(),
        made(erased(1, "kyc", 2020), erased(3, "kyc", 2022), erased(2, "ai-log", 2026)),
        actor=BEN,
        person=BEN,
        now=NOW,
    )

    [deferred] = one.pending
    assert isinstance(deferred, ErasureDeferred)
    assert deferred.bars == ("class ai-log", "class kyc")
    assert end_of("kyc", 2020) < NOW < end_of("ai-log", 2026) == datetime(2027, 7, 4, tzinfo=UTC)
    assert deferred.until == end_of("kyc", 2022)


def test_a_hold_that_comes_after_the_order_and_before_its_execution_defers_it() -> None:
    one = erasure(proposed(erased(1)), ordered(1))

    one.resume(RESUME, holds(placed()), made(), now=NOW)

    assert [type(found) for found in one.pending] == [ErasureDeferred]
    refused(one, lambda: one.confirm(ConfirmErasure(shredded=(event(1),))), NotOrdered)


def test_an_erasure_is_confirmed_with_a_shredding_for_each_key() -> None:
    one = erasure(proposed(erased(1), erased(2)), ordered(1, 2))

    refused(one, lambda: one.confirm(ConfirmErasure(shredded=(event(1),))), NotShredded)
    refused(one, lambda: one.confirm(ConfirmErasure(shredded=(event(1), event(1)))), NotShredded)
    then(
        one,
        lambda: one.confirm(ConfirmErasure(shredded=(event(1), event(2)))),
        PersonErased(keys=(key(1), key(2)), shredded=(event(1), event(2))),
    )


def test_what_nobody_ordered_is_neither_resumed_nor_confirmed() -> None:
    one = erasure(proposed(erased(1)))

    refused(one, lambda: one.resume(RESUME, holds(), made(), now=NOW), NotOrdered)
    refused(one, lambda: one.confirm(ConfirmErasure(shredded=(event(1),))), NotOrdered)


def test_retention_expires_when_it_is_due_and_no_hold_bars_it() -> None:
    command = ExpireRetention(keys=(key(1),), shredded=(event(1),))
    late = end_of("ai-log", 2025)
    of_2025 = given(Retention, "audit/class/ai-log.2025")

    refused(of_2025, lambda: of_2025.expire(command, holds(), now=late - timedelta(seconds=1)), NotDue)
    refused(of_2025, lambda: of_2025.expire(command, holds(placed()), now=late), UnderHold)
    elsewhere = given(Retention, "audit/class/lunch.2025")
    refused(elsewhere, lambda: elsewhere.expire(command, holds(), now=late), AddressedWrongly)
    then(
        of_2025,
        lambda: of_2025.expire(command, holds(), now=late),
        RetentionExpired(keys=(key(1),), shredded=(event(1),)),
    )


def a_schema(version: int = 1, retention_class: Any = "kyc") -> PublishSchema:
    urn = Urn(f"urn:spaceos:identity.KeyProposed:{version}")
    return PublishSchema(urn=urn, digest=digest("schema"), retention_class=retention_class)


def test_a_class_is_not_shortened_by_publishing_again() -> None:
    """The signed records name the schema's version: what it promised then is what holds for them."""
    schema = given(Schema, "audit/schema/identity.KeyProposed")
    then(
        schema,
        lambda: schema.publish(a_schema()),
        SchemaPublished(urn=a_schema().urn, digest=digest("schema"), retention_class="kyc"),
    )

    refused(schema, lambda: schema.publish(a_schema(1, "none")), AlreadyPublished)
    refused(schema, lambda: schema.publish(a_schema(3)), VersionNotNext)
    schema.publish(a_schema(2, "none"))


def test_a_schema_is_published_in_its_own_stream() -> None:
    schema = given(Schema, "audit/schema/identity.KeyRevoked")

    refused(schema, lambda: schema.publish(a_schema()), AddressedWrongly)


WITNESS = AddWitness(name=Label("w1"), key=WitnessKey("w.example+0123abcd+" + "A" * 44), group=Label("any"))


def test_a_change_of_the_log_takes_the_same_words_of_two_keyholders() -> None:
    log = given(Log, "audit/log/test")

    log.change(WITNESS, digest=digest("add w1"), actor=ANN, person=ANN)
    refused(log, lambda: log.change(WITNESS, digest=digest("add w1"), actor=ANN, person=ANN), SamePerson)
    log.change(WITNESS, digest=digest("add w1"), actor=BEN, person=BEN)

    assert log.pending == [
        LogChangeProposed(digest=digest("add w1"), proposed_by=ANN, person=ANN),
        WitnessAdded(name=WITNESS.name, key=WITNESS.key, group=WITNESS.group),
    ]
    log.change(WITNESS, digest=digest("add w1"), actor=ANN, person=ANN)
    assert len(log.pending) == 2


def test_a_witness_that_is_known_by_another_key_or_not_at_all_is_refused() -> None:
    log = given(Log, "audit/log/test", WitnessAdded(name=WITNESS.name, key=WITNESS.key, group=WITNESS.group))
    other = WITNESS.model_copy(update={"key": WitnessKey("w.example+0123abcd+" + "B" * 44)})

    refused(log, lambda: log.change(other, digest=digest("x"), actor=ANN, person=ANN), AlreadyKnown)
    retire = RetireWitness(name=Label("w9"), cause=Label("gone"))
    refused(log, lambda: log.change(retire, digest=digest("y"), actor=ANN, person=ANN), NotKnown)


def test_a_shard_halts_once_and_goes_on_where_it_halted() -> None:
    shard = given(Shard, "audit/shard/tally.events/0")
    halt = HaltShard(sequence=7, evidence=digest("why"), reason="why")

    refused(shard, lambda: shard.resume(ResumeShard(sequence=7), actor=ANN), NotHalted)
    then(shard, lambda: shard.halt(halt), ShardHalted(sequence=7, evidence=digest("why"), reason="why"))
    refused(shard, lambda: shard.resume(ResumeShard(sequence=8), actor=ANN), NotHalted)
    shard.resume(ResumeShard(sequence=7), actor=ANN)
    assert shard.pending[1:] == [ShardResumed(sequence=7, resumed_by=ANN)]


def test_the_same_tampering_is_reported_once() -> None:
    shard = given(Shard, "audit/shard/tally.events/0")
    report = ReportTampering(index=3, evidence=digest("bytes"), check=Label("signature"))

    shard.report(report, actor=ANN)
    shard.report(report, actor=BEN)

    assert len(shard.pending) == 1


KEYS = st.integers(1, 4)


class Erasing(RuleBasedStateMachine):
    """Holds come and go, officers order, the process resumes and confirms; the model only knows who is held and who ordered."""

    @initialize()
    def begin(self) -> None:
        self.register, self.erasures = holds(), {n: given(Erasure, f"audit/erasure/{n}") for n in range(1, 5)}
        self.held: dict[str, set[int]] = {}
        self.orders: dict[int, set[str]] = {n: set() for n in self.erasures}
        self.done: set[int] = set()

    @rule(name=st.sampled_from(["a", "b", "c"]), keys=st.sets(KEYS, max_size=2))
    def place(self, name: str, keys: set[int]) -> None:
        try:
            self.register.place(a_hold(name, *sorted(keys)), actor=ANN, person=ANN)
        except Refused:
            return
        self.held.setdefault(name, keys)

    @rule(name=st.sampled_from(["a", "b", "c"]), actor=st.sampled_from([ANN, BEN]))
    def release(self, name: str, actor: Any) -> None:
        try:
            self.register.release(ReleaseHold(hold=HoldId(name)), actor=actor, person=actor)
        except Refused:
            return
        assert actor == BEN or self.held[name] == {-1}
        self.held[name] = {-1}

    @rule(n=KEYS, actor=st.sampled_from([ANN, BEN]))
    def order(self, n: int, actor: Any) -> None:
        try:
            self.erasures[n].order(an_order(erased(n)), self.register, made(), actor=actor, person=actor, now=NOW)
        except Refused:
            return
        self.orders[n].add(actor)

    @rule(n=KEYS)
    def carry_out(self, n: int) -> None:
        """As the process does it: resume, then destroy and confirm if it is ordered still."""
        one = self.erasures[n]
        try:
            one.resume(RESUME, self.register, made(), now=NOW)
            one.confirm(ConfirmErasure(shredded=(event(n),)))
        except Refused:
            return
        if n not in self.done:
            assert len(self.orders[n]) == 2, "one officer alone erased somebody"
            assert not self.barred(n), "a hold covers what was erased"
        self.done.add(n)

    def barred(self, n: int) -> bool:
        return any(not keys or n in keys for keys in self.held.values())

    @invariant()
    def what_is_done_is_done(self) -> None:
        for n, one in getattr(self, "erasures", {}).items():
            assert one.done == (n in self.done)
            assert sum(isinstance(found, PersonErased) for found in one.pending) == (n in self.done)


TestErasing = Erasing.TestCase
TestErasing.settings = settings(max_examples=60, stateful_step_count=40)
