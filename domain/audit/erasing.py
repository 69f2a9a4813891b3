"""Holds, erasures and retention: what may be destroyed, and when."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import assert_never

from contracts import Did, EventId, Label, SealingKeyId
from contracts.audit import (
    RETENTION_DAYS,
    Basis,
    ConfirmErasure,
    ErasedKey,
    ErasureDeferred,
    ErasureEvent,
    ErasureOrdered,
    ErasureProposed,
    ExpireRetention,
    HoldEvent,
    HoldPlaced,
    HoldReleased,
    KeyNoted,
    NoteKey,
    OrderErasure,
    PersonErased,
    PlaceHold,
    ReleaseHold,
    ResumeErasure,
    RetentionExpired,
    Scope,
)
from domain import Aggregate
from domain.audit import (
    AddressedWrongly,
    AlreadyErased,
    AlreadyHeld,
    AlreadyNoted,
    KeyUnknown,
    NotDue,
    NotHeld,
    NotOrdered,
    NotShredded,
    Released,
    SamePerson,
    StillBarred,
    UnderHold,
)


@dataclass
class Hold:
    """What it covers, which person placed it, and whether it still holds."""

    scope: Scope
    placed_by: str
    in_force: bool = True

    def covers(self, keys: Collection[str], tags: Collection[str]) -> bool:
        """Whether it is on one of the keys, or on one of the persons."""
        named = {*self.scope.keys, *self.scope.persons}
        return self.in_force and (not named or not named.isdisjoint((*keys, *tags)))


@dataclass
class Holds(Aggregate[HoldEvent]):
    """A network's holds, all in one stream, so that an erasure can be decided against all of them."""

    holds: dict[str, Hold] = field(default_factory=dict)

    def place(self, command: PlaceHold, *, actor: str, person: str) -> None:
        known = self.holds.get(command.hold)
        if known is not None:
            if not known.in_force:
                raise Released(field="hold")
            if known.scope != command.scope:
                raise AlreadyHeld(field="hold")
            return
        self.record(
            HoldPlaced(
                hold=command.hold, scope=command.scope, matter=command.matter, placed_by=Did(actor), basis=command.basis,
                person=Did(person),
            )
        )  # fmt: skip

    def release(self, command: ReleaseHold, *, actor: str, person: str) -> None:
        known = self.holds.get(command.hold)
        if known is None:
            raise NotHeld(field="hold")
        if not known.in_force:
            return
        if known.placed_by == person:
            raise SamePerson("whoever placed a hold does not release it", "hold")
        self.record(HoldReleased(hold=command.hold, released_by=Did(actor)))

    def against(self, keys: Collection[str], tags: Collection[str] = ()) -> list[str]:
        """The holds that bar the destruction of one of the keys, of persons with those tags."""
        return sorted(name for name, hold in self.holds.items() if hold.covers(keys, tags))

    def apply(self, event: HoldEvent) -> None:
        match event:
            case HoldPlaced(hold=hold, scope=scope, placed_by=actor, person=person):
                self.holds[hold] = Hold(scope, person or actor)
            case HoldReleased(hold=hold):
                self.holds[hold].in_force = False
            case _:
                assert_never(event)


@dataclass
class NotedKey(Aggregate[KeyNoted]):
    """A sealing key: for which class and year it was made."""

    retention_class: str = ""
    year: int = 0

    def note(self, command: NoteKey) -> None:
        if not self.retention_class:
            self.record(KeyNoted(**dict(command)))
        elif (self.retention_class, self.year) != (command.retention_class, command.year):
            raise AlreadyNoted(f"the key is of {self.retention_class} {self.year}", "retention_class")

    def apply(self, event: KeyNoted) -> None:
        match event:
            case KeyNoted(retention_class=retention_class, year=year):
                self.retention_class, self.year = retention_class, year
            case _:
                assert_never(event)


@dataclass
class Erasure(Aggregate[ErasureEvent]):
    """One person's erasure, from the first officer's order to the destruction of the keys."""

    keys: list[ErasedKey] = field(default_factory=list)
    basis: Basis = "request"
    cause: str | None = None
    proposed_by: str = ""
    """The person."""
    ordered: bool = False
    deferred: tuple[str, ...] = ()
    done: bool = False

    def order(
        self,
        command: OrderErasure,
        holds: Holds,
        noted: Mapping[str, NotedKey],
        *,
        actor: str,
        person: str,
        now: datetime,
    ) -> None:
        """The first officer proposes; another one's same order makes it one, or defers it (white paper 11.2).

        Raises AlreadyErased, KeyUnknown, SamePerson, StillBarred.
        """
        names, known = names_of(command), [key.key for key in self.keys]
        if self.ordered or self.done or self.deferred:
            if known != names:
                raise AlreadyErased("this erasure was begun for other keys", "keys")
            return
        keys = self._as_made(names, noted)
        is_same = (names, command.basis, command.cause) == (known, self.basis, self.cause)
        # One officer binds nobody: else he would take a person's erasure by its name, for other keys or none that matter.
        if not self.proposed_by or not is_same:
            self.record(
                ErasureProposed(
                    keys=tuple(keys), basis=command.basis, proposed_by=Did(actor), cause=command.cause, person=Did(person)
                )
            )  # fmt: skip
        elif self.proposed_by == person:
            raise SamePerson("an erasure takes the same order by a second officer")
        else:
            self._order_unless_barred(keys, holds, (), now)

    def resume(self, command: ResumeErasure, holds: Holds, noted: Mapping[str, NotedKey], *, now: datetime) -> None:
        """Decide again, now; also of one that was ordered, since a hold may have come before it was carried out.

        Raises NotOrdered, KeyUnknown, StillBarred.
        """
        if not (self.ordered or self.deferred):
            raise NotOrdered
        if not self.done:
            keys = self._as_made([key.key for key in self.keys], noted)
            self._order_unless_barred(keys, holds, command.tags, now)

    def _as_made(self, names: list[SealingKeyId], noted: Mapping[str, NotedKey]) -> list[ErasedKey]:
        """What they were made for, whatever an officer has said of them."""
        if unknown := [name for name in names if not noted[name].retention_class]:
            raise KeyUnknown(f"nothing is noted of {unknown[0]}", "keys")
        return [
            ErasedKey.model_validate({"key": name, "retention_class": noted[name].retention_class, "year": noted[name].year})
            for name in names
        ]

    def confirm(self, command: ConfirmErasure) -> None:
        if self.done:
            return
        if not self.ordered:
            raise NotOrdered
        if len(set(command.shredded)) != len(self.keys):
            raise NotShredded(f"{len(self.keys)} keys were to be destroyed, {len(set(command.shredded))} were", "shredded")
        self.record(PersonErased(keys=tuple(entry.key for entry in self.keys), shredded=command.shredded))

    def _order_unless_barred(self, keys: list[ErasedKey], holds: Holds, tags: Collection[str], now: datetime) -> None:
        names = tuple(entry.key for entry in keys)
        held = holds.against(names, tags)
        classes = sorted({entry.retention_class for entry in keys if retained_until(entry) > now})
        bars = (*(f"hold {name}" for name in held), *(f"class {name}" for name in classes))
        if not bars:
            if not self.ordered:
                self.record(ErasureOrdered(keys=names, basis=self.basis, cause=EventId(self.cause) if self.cause else None))
        elif bars == self.deferred:
            raise StillBarred(", ".join(bars))
        else:
            until = None if held else max(map(retained_until, keys))
            labels = tuple(map(Label, bars))
            self.record(ErasureDeferred(keys=names, basis=self.basis, bars=labels, until=until))

    def apply(self, event: ErasureEvent) -> None:
        match event:
            case ErasureProposed(keys=keys, basis=basis, proposed_by=actor, cause=cause, person=person):
                self.keys, self.basis, self.proposed_by, self.cause = list(keys), basis, person or actor, cause
            case ErasureOrdered():
                self.ordered, self.deferred = True, ()
            case ErasureDeferred(bars=bars):
                self.ordered, self.deferred = False, tuple(bars)
            case PersonErased():
                self.done = True
            case _:
                assert_never(event)


@dataclass
class Retention(Aggregate[RetentionExpired]):
    """A class and year: which keys were destroyed because their time was over."""

    expired: list[str] = field(default_factory=list)

    def expire(self, command: ExpireRetention, holds: Holds, *, now: datetime) -> None:
        retention_class, _, year = self.id.rpartition(".")
        if retention_class not in RETENTION_DAYS or not year.isdecimal():
            raise AddressedWrongly("the stream is audit/class/<class>.<year>", "subject")
        fresh = [key for key in command.keys if key not in self.expired]
        if not fresh:
            return
        if now < end_of(retention_class, int(year)):
            raise NotDue(f"until {end_of(retention_class, int(year)).date()}")
        if held := holds.against(fresh, command.tags):
            raise UnderHold(", ".join(held), "keys")
        if len(set(command.shredded)) != len(command.keys):
            raise NotShredded(field="shredded")
        self.record(RetentionExpired(keys=command.keys, shredded=command.shredded))

    def apply(self, event: RetentionExpired) -> None:
        match event:
            case RetentionExpired(keys=keys):
                self.expired += keys
            case _:
                assert_never(event)


def end_of(retention_class: str, year: int) -> datetime:
    """When records of that class and year need no longer be readable; at once where the class is none."""
    days = {str(name): days for name, days in RETENTION_DAYS.items()}[retention_class]
    begin = datetime(year + 1, 1, 1, tzinfo=UTC) if days else datetime.min.replace(tzinfo=UTC)
    return begin + timedelta(days=days)


def names_of(command: OrderErasure) -> list[SealingKeyId]:
    return [key.key if isinstance(key, ErasedKey) else key for key in command.keys]


def retained_until(key: ErasedKey) -> datetime:
    return end_of(key.retention_class, key.year)
