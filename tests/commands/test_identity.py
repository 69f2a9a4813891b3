"""The key registry against a naive model of it: who may act, in which role, when. Chance chooses the history."""

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.keys import ed25519_signer, verify
from commands import Asked, AuthorityTable, Grant
from commands.identity import Identity
from contracts import CommandRecord, Did, parse_command, uuid7
from contracts.identity import (
    ApproveEnd,
    ApproveKey,
    Found,
    ProposeEnd,
    ProposeKey,
    RevokeKey,
    RotateKey,
    WithdrawRole,
    key_proof,
)
from domain import Aggregate, Refused, StreamAdvanced
from domain.identity import BadProof
from domain.identity.authority import Founding
from ops.worker.authority import Permit, permitted

NETWORK = "test"
START = datetime(2026, 1, 1, tzinfo=UTC)
SIGNERS = {signer.did: signer for signer in (ed25519_signer(bytes([n]) * 32) for n in range(1, 8))}
ROOTS, OTHERS = tuple(SIGNERS)[:3], tuple(SIGNERS)[3:]
ROLES = ("providers.gpu", "operations.operator", "identity.registrar", "store.writer")
FOUNDING = Founding("a" * 64, ROOTS, 2, 800_000, "consumer")
WRITER = ed25519_signer(bytes([99]) * 32).did
_ids = count(1)


class Paper:
    """Streams in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Aggregate[Any]] = {}

    def load(self, kind: Any, stream: str) -> Any:
        return self.kept.setdefault(stream, kind(stream))


def record_of(command: Any, subject: str, by: str, now: datetime, **more: Any) -> CommandRecord:
    asked = {"subject": subject, "source": by, "network": NETWORK, "id": uuid7(next(_ids), bytes(10)), "time": now, **more}
    value = CommandRecord.encode(command, **asked)
    return parse_command(value, subject.encode(), [("signature", b"x")])


class Desk:
    """A service with the authority that its events give: identity without a worker."""

    def __init__(self, founding: Founding = FOUNDING) -> None:
        self.streams = Paper()
        self.service = Identity(self.streams, verify)
        self.table = AuthorityTable(founding)
        for n, root in enumerate(founding.roots):
            self.table.apply(Grant(root, "identity.root", "identity/", START + timedelta(days=366)), "genesis", n)
        self.table.apply(Grant(WRITER, "store.writer", "", START + timedelta(days=9_000)), "genesis", 99)
        self.recorded = 0

    def ask(self, command: Any, subject: str, by: str, now: datetime, **more: Any) -> list[Any]:
        """The events. Raises Refused; then nothing has changed."""
        before = deepcopy(self.streams.kept)
        record = record_of(command, subject, by, now, **more)
        try:
            known = self.table.of(by)
            aggregate = self.service.decide(command, Asked(record, now, known.holder if known else by, self.table))
        except Refused:
            assert {k: v for k, v in self.streams.kept.items() if v.version} == {k: v for k, v in before.items() if v.version}
            raise
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        for event in events:
            self.recorded += 1
            for change in self.service.authority(event, now):
                self.table.apply(change, "identity.events/0", self.recorded)
        return events

    def may(self, key: str, role: str, subject: str, now: datetime) -> bool:
        kind = type("AnyCommand", (), {"wire": type("Wire", (), {"roles": (role,), "type": "x", "stream": "x"})})
        record = record_of(RevokeKey(reason="retired"), subject, key, now)
        return isinstance(permitted(self.table.of(key), kind, record, now), Permit)  # type: ignore[arg-type]


@dataclass(eq=False)
class Row:
    """That a key had a role: of what, since when, until when, by whose consent or after whom."""

    key: str
    role: str
    since: datetime
    end: datetime
    by: frozenset[tuple[str, str]] = frozenset()
    after: "Row | None" = None


@dataclass
class Model:
    """The registry as one would explain it: what was given and not taken back."""

    quorum: int
    rows: list[Row] = field(default_factory=list)
    persons: dict[str, str] = field(default_factory=dict)
    """Of whoever has ever been named in the table."""
    revoked: dict[str, datetime | None] = field(default_factory=dict)
    rotated: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def person(self, key: str) -> str:
        return self.persons.get(key, key)

    def live(self, key: str, role: str, now: datetime) -> list[Row]:
        return [row for row in self.rows if (row.key, row.role) == (key, role) and now <= row.end]

    def give(self, row: Row) -> None:
        self.rows = [one for one in self.rows if (one.key, one.role) != (row.key, row.role)] + [row]
        self.persons.setdefault(row.key, self.person(row.after.key) if row.after else row.key)

    def needed(self, role: str) -> int:
        return {"providers.gpu": 1, "operations.operator": 2}.get(role, max(2, self.quorum))

    def registrars(self, now: datetime, without: set[Row]) -> set[str]:
        rows = [row for row in self.rows if row.role == "identity.registrar" and now <= row.end and row not in without]
        return {self.person(row.key) for row in rows}

    def alone(self, gone: set[Row], by: str, now: datetime) -> bool:
        """Whether one registrar may end these: of the registrars his own only."""
        live = {row for row in gone if now <= row.end}
        if any(row.role == "store.writer" for row in live):
            return False
        registrars = {self.person(row.key) for row in live if row.role == "identity.registrar"}
        if not registrars:
            return True
        return registrars == {self.person(by)} and len(self.registrars(now, gone)) >= self.quorum

    def follows(self, key: str, since: datetime) -> tuple[set[str], set[Row]]:
        """Keys that end with it, and rows: again and again until nothing more does."""
        keys, rows = {key}, set[Row]()
        while True:
            more = {new for old, (new, at) in self.rotated.items() if old in keys and at >= since} - keys
            keys |= more
            gone = {row for row in self.rows if row.key in keys} | rows
            void = keys | {row.key for row in gone if row.role == "identity.registrar"}
            lacking = {
                row
                for row in self.rows
                if row.since >= since
                and row.by
                and any(one in void for one, _ in row.by)
                and len({person for one, person in row.by if one not in void}) < self.needed(row.role)
            }
            handed = {row for row in self.rows if row.after is not None and row.since >= since and row.after in gone}
            if not more and lacking | handed <= rows:
                return keys, gone | rows
            rows |= lacking | handed


keys = st.sampled_from(OTHERS)
anybody = st.sampled_from(tuple(SIGNERS))
role_lists = st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True)


def prefix_of(role: str) -> str:
    return "identity/" if role == "store.writer" else f"{role.partition('.')[0]}/"


class Registry(RuleBasedStateMachine):
    """Whatever is asked in whatever order, the table says what the model says, and nothing is given that lacks a person."""

    @initialize(quorum=st.integers(2, 3))
    def found(self, quorum: int) -> None:
        self.desk = Desk(Founding("a" * 64, ROOTS, quorum, 800_000, "consumer"))
        self.model, self.now = Model(quorum), START
        self.waiting: dict[tuple[str, str], tuple[list[str], datetime, list[tuple[str, Row]], datetime]] = {}
        command = Found(roots=ROOTS, quorum=quorum, chain_id=800_000, profile="consumer")
        self.desk.ask(command, f"identity/network/{NETWORK}", ROOTS[0], self.now)
        for root in ROOTS:
            self.model.give(Row(root, "identity.registrar", self.now, self.now + timedelta(days=366)))

    def _may_ask(self, by: str) -> Row | None:
        """A worker would ask nobody else."""
        rows = self.model.live(by, "identity.registrar", self.now)
        return rows[0] if rows else None

    @rule(days=st.sampled_from([0.001, 1, 8, 100]))
    def time_passes(self, days: float) -> None:
        self.now += timedelta(days=days)

    @rule(key=keys, by=anybody, roles=role_lists, days=st.sampled_from([-1, 1, 100, 366, 367]))
    def propose(self, key: str, by: str, roles: list[str], days: int) -> None:
        if (row := self._may_ask(by)) is None:
            return
        model, end, subject, command_id = self.model, self.now + timedelta(days=days), f"identity/key/{key}", uuid7(next(_ids))
        proof = SIGNERS[key].sign(key_proof(NETWORK, "identity.ProposeKey", by, command_id, subject, key))
        granted = tuple({"role": role, "prefix": prefix_of(role)} for role in roles)
        command = ProposeKey.model_validate(
            {"key": Did(key), "roles": granted, "held_by": command_id[:8], "not_after": end, "proof": proof}
        )
        allowed = key not in model.revoked and 0 < days <= 366 and model.person(by) != model.person(key)
        digest = sha256(record_of(command, subject, by, self.now, id=command_id).value).hexdigest()

        events = self._ask(command, key, by, allowed, id=command_id)

        if not events:
            return
        self.waiting[key, digest] = (roles, end, [(by, row)], self._lapses())
        self._complete(key, digest)

    def _lapses(self) -> datetime:
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=7)

    @rule(key=keys, first=st.sampled_from(ROOTS), roles=role_lists, days=st.sampled_from([1, 300]))
    def register(self, key: str, first: str, roles: list[str], days: int) -> None:
        """By as many registrars as it takes, if there are so many."""
        before = set(self.waiting)
        self.propose(key=key, by=first, roles=roles, days=days)
        for by in SIGNERS:
            for name in sorted(self.waiting.keys() - before):
                if name in self.waiting:
                    self._approve(name, by)

    @precondition(lambda self: self.waiting)
    @rule(by=anybody, chance=st.randoms(use_true_random=False))
    def approve(self, by: str, chance: Any) -> None:
        self._approve(chance.choice(sorted(self.waiting)), by)

    def _approve(self, name: tuple[str, str], by: str) -> None:
        if (row := self._may_ask(by)) is None:
            return
        key, digest = name
        consents, lapses = self._counting(key, digest), self.waiting[key, digest][3]
        person = self.model.person(by)
        taken = {self.model.person(one) for one, _ in consents} | {self.model.person(key)}
        allowed = key not in self.model.revoked and self.now <= lapses and person not in taken

        self._ask(ApproveKey(proposal=digest), key, by, allowed)

        if allowed:
            self.waiting[key, digest][2].append((by, row))
            self._complete(key, digest)

    def _counting(self, key: str, digest: str) -> list[tuple[str, Row]]:
        """Whoever is a registrar by the very row by which he consented, and is not the key's person by now."""
        owner = self.model.person(key)
        consents = [(by, row) for by, row in self.waiting[key, digest][2] if self.model.person(by) != owner]
        return [(by, row) for by, row in consents if row in self.model.live(by, row.role, self.now)]

    def _complete(self, key: str, digest: str) -> None:
        roles, end, _, _ = self.waiting[key, digest]
        by = frozenset((one, self.model.person(one)) for one, _ in self._counting(key, digest))
        if len({person for _, person in by}) >= max(map(self.model.needed, roles)):
            for role in roles:
                self.model.give(Row(key, role, self.now, end, by))
            self.waiting = {name: one for name, one in self.waiting.items() if name[0] != key}

    @rule(key=anybody, successor=anybody, seconds=st.sampled_from([0, 60, 86_400]))
    def rotate(self, key: str, successor: str, seconds: int) -> None:
        model, subject, command_id = self.model, f"identity/key/{key}", uuid7(next(_ids))
        proof = SIGNERS[successor].sign(key_proof(NETWORK, "identity.RotateKey", key, command_id, subject, successor))
        command = RotateKey(successor=successor, proof=proof, overlap_seconds=seconds)
        live = [row for row in model.rows if row.key == key and self.now <= row.end]
        if key in ROOTS or key in model.revoked or not live:
            return
        repeated = model.rotated.get(key, ("",))[0] == successor
        is_free = successor not in model.persons and key not in model.rotated
        allowed = repeated or (is_free and not any(row.role == "store.writer" for row in live))

        self._ask(command, key, key, allowed, id=command_id)

        if allowed and not repeated:
            model.persons[successor], model.rotated[key] = model.person(key), (successor, self.now)
            for row in live:
                model.give(Row(successor, row.role, self.now, row.end, after=row))
                row.end = min(row.end, self.now + timedelta(seconds=seconds))

    @rule(key=anybody, by=anybody, role=st.sampled_from(ROLES))
    def withdraw(self, key: str, by: str, role: str) -> None:
        if self._may_ask(by) is None:
            return
        gone = {row for row in self.model.rows if (row.key, row.role) == (key, role)}
        allowed = bool(gone) and self.model.alone(gone, by, self.now)
        try:
            events = self.desk.ask(WithdrawRole(role=role, prefix=prefix_of(role)), f"identity/key/{key}", by, self.now)
        except Refused:
            assert not allowed
            return
        assert bool(events) is bool(gone)
        assert allowed or not gone
        self._end(set(), gone)

    @rule(key=anybody, by=anybody, ago=st.sampled_from([None, 0, 1, 1_000]))
    def revoke(self, key: str, by: str, ago: int | None) -> None:
        if self._may_ask(by) is None:
            return
        model, since = self.model, None if ago is None else self.now - timedelta(days=ago)
        keys, gone = model.follows(key, since) if since else ({key}, {row for row in model.rows if row.key == key})
        before = model.revoked.get(key)
        repeated = key in model.revoked and (since is None or (before is not None and before <= since))
        allowed = repeated or model.alone(gone, by, self.now)

        events = self._ask(RevokeKey(reason="compromised", suspected_since=since), key, by, allowed)

        if allowed and not repeated:
            assert len(events) == 1
            self._end(keys, gone)
            model.revoked[key] = since or before
        else:
            assert events == []

    @rule(key=anybody, ago=st.sampled_from([None, 1_000]))
    def end_by_quorum(self, key: str, ago: int | None) -> None:
        model, since = self.model, None if ago is None else self.now - timedelta(days=ago)
        by = {model.person(one): one for one in SIGNERS if self._may_ask(one)}
        if len(by) < model.quorum or key in model.revoked:
            return
        subject, now = f"identity/key/{key}", self.now
        propose = ProposeEnd(reason="compromised", suspected_since=since)
        first, *others = sorted(by.values())[: model.quorum]
        command_id = uuid7(next(_ids))
        digest = sha256(record_of(propose, subject, first, now, id=command_id).value).hexdigest()
        self.desk.ask(propose, subject, first, now, id=command_id)
        for other in others:
            assert key not in model.revoked
            events = self.desk.ask(ApproveEnd(proposal=digest), subject, other, now)
        assert events[-1].wire.type == "identity.KeyRevoked"
        keys, gone = model.follows(key, since) if since else ({key}, {row for row in model.rows if row.key == key})
        self._end(keys, gone)
        model.revoked[key] = since

    def _end(self, keys: set[str], gone: set[Row]) -> None:
        for key in keys:
            self.model.revoked.setdefault(key, None)
            self.model.persons.setdefault(key, key)
        self.model.rows = [row for row in self.model.rows if row not in gone]
        self.waiting = {name: one for name, one in self.waiting.items() if name[0] not in keys}

    @invariant()
    def everybody_may_what_the_model_says(self) -> None:
        for key in SIGNERS if hasattr(self, "desk") else ():
            for role in ROLES:
                subject = f"{prefix_of(role)}x/y"
                if role != "identity.registrar":
                    assert self.desk.may(key, role, subject, self.now) == bool(self.model.live(key, role, self.now)), (
                        key,
                        role,
                    )
                known = self.desk.table.of(key)
                assert (known is not None) == (key in self.model.persons)
                assert known is None or known.holder == self.model.person(key)

    def _ask(self, command: Any, key: str, by: str, allowed: bool, **more: Any) -> list[Any]:
        try:
            events = self.desk.ask(command, f"identity/key/{key}", by, self.now, **more)
        except Refused:
            assert not allowed
            return []
        assert allowed
        return events


Registry.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None, print_blob=True)
TestRegistry = Registry.TestCase


# What the service adds to the rules

SUBJECT, COMMAND = f"identity/key/{OTHERS[0]}", uuid7(7, bytes(10))


def proposal(proof: str) -> ProposeKey:
    return ProposeKey.model_validate(
        {
            "key": Did(OTHERS[0]), "roles": ({"role": ROLES[0], "prefix": "providers/"},), "held_by": "x",
            "not_after": START + timedelta(days=1), "proof": proof,
        }
    )  # fmt: skip


def text(**other: str) -> bytes:
    said = {
        "network": NETWORK, "kind": "identity.ProposeKey", "source": ROOTS[0], "id": COMMAND, "subject": SUBJECT,
        "key": OTHERS[0],
    }  # fmt: skip
    return key_proof(**{**said, **other})


@pytest.mark.parametrize(
    ("signer", "said"),
    [
        (OTHERS[1], text()), (OTHERS[0], text(network="elsewhere")), (OTHERS[0], text(kind="identity.RotateKey")),
        (OTHERS[0], text(source=ROOTS[1])), (OTHERS[0], text(id=uuid7(8, bytes(10)))),
        (OTHERS[0], text(subject=f"identity/key/{OTHERS[1]}")), (OTHERS[0], text(key=OTHERS[1])),
        (OTHERS[0], f"spaceos/key-proof/1\n{NETWORK}\n{OTHERS[0]}".encode()),
    ],
    ids=[
        "another key's", "for another network", "in another command", "for another source", "in another of its commands",
        "for another stream", "for another key", "of the first version",
    ],
)  # fmt: skip
def test_nobody_registers_a_key_that_does_not_agree_to_this_command(signer: str, said: bytes) -> None:
    """Or somebody's public key would be given roles that he never asked for, or that another one asked for."""
    with pytest.raises(BadProof) as refusal:
        Desk().ask(proposal(SIGNERS[signer].sign(said)), SUBJECT, ROOTS[0], START, id=COMMAND)

    assert refusal.value.field == "proof"


@pytest.mark.parametrize("version", [1, 7])
def test_a_stream_at_another_version_than_expected_is_not_asked(version: int) -> None:
    command = proposal(SIGNERS[OTHERS[0]].sign(text()))

    with pytest.raises(StreamAdvanced):
        Desk().ask(command, SUBJECT, ROOTS[0], START, id=COMMAND, streamversion=version)

    assert Desk().ask(command, SUBJECT, ROOTS[0], START, id=COMMAND, streamversion=0)


def test_a_root_is_a_registrar_for_as_long_as_a_service_key_lives() -> None:
    desk = Desk()
    command = Found(roots=ROOTS, quorum=2, chain_id=800_000, profile="consumer")

    desk.ask(command, f"identity/network/{NETWORK}", ROOTS[0], START)

    end = START + timedelta(days=366)
    assert all(desk.may(root, "identity.registrar", "identity/x", end) for root in ROOTS)
    assert not any(desk.may(root, "identity.registrar", "identity/x", end + timedelta(microseconds=1)) for root in ROOTS)
