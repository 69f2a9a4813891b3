"""As long as fewer than a quorum of the registrars are dishonest, the others end any key, whatever those do first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.keys import ed25519_signer
from contracts import Did, contexts, uuid7
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
from domain import Refused
from domain.identity.authority import REGISTRAR, Founding
from domain.identity.authority import WRITER as WRITES
from tests.commands.test_identity import NETWORK, START, WRITER, Desk, record_of

SIGNERS = {signer.did: signer for signer in (ed25519_signer(n.to_bytes(2) * 16) for n in range(1, 40))}
ROOTS, (DEVICE, HEIR, *SECONDS), PUPPETS = tuple(SIGNERS)[:7], tuple(SIGNERS)[7:11], tuple(SIGNERS)[11:]
EVERYWHERE = [(WRITES, f"{context}/") for context in contexts()]
_ids = count(1)

Move = tuple[str, int, int, int]
"""What is tried, by which dishonest key, about which key, and a choice besides."""
moves = st.lists(
    st.tuples(
        st.sampled_from(["give", "approve", "rotate", "withdraw", "revoke", "propose end", "approve end"]),
        st.integers(0, 20), st.integers(0, 20), st.integers(0, 20),
    ),
    max_size=12,
)  # fmt: skip


@dataclass
class Network:
    """Of so many roots, of whom as many are dishonest as leave a quorum of honest ones."""

    roots: int
    bad: list[str] = field(default_factory=list)
    """Keys of the dishonest, also those that they hand their roles to."""
    waiting: list[tuple[str, str, bool]] = field(default_factory=list)
    """Subject and digest of each proposal, and whether it is an end."""

    def __post_init__(self) -> None:
        roots, self.quorum = tuple(map(Did, ROOTS[: self.roots])), self.roots // 2 + 1
        self.desk, self.now = Desk(Founding("a" * 64, roots, self.quorum, 800_000, "consumer")), START
        found = Found(roots=roots, quorum=self.quorum, chain_id=800_000, profile="consumer")
        self.desk.ask(found, f"identity/network/{NETWORK}", roots[0], self.now)
        self.honest, self.bad = list(roots[: self.quorum]), list(roots[self.quorum :])
        self.free = iter(PUPPETS)

    @property
    def everybody(self) -> list[str]:
        return [*self.honest, *self.bad, DEVICE, WRITER, SECONDS[0]]

    def ask(self, command: Any, key: str, by: str, **more: Any) -> str | None:
        """The refusal. Only who is a registrar is asked about another's key."""
        self.now += timedelta(seconds=1)
        known = self.desk.table.of(by)
        if known is None or known.revoked or not (by == key or known.has(REGISTRAR, self.now)):
            return "NotInRole"
        if isinstance(command, ProposeKey | ProposeEnd | ApproveKey | ApproveEnd) and not known.has(REGISTRAR, self.now):
            return "NotInRole"
        try:
            self.desk.ask(command, f"identity/key/{key}", by, self.now, **more)
        except Refused as refusal:
            return type(refusal).__name__
        return None

    def propose(self, key: str, roles: Iterable[tuple[str, str]], by: str) -> str:
        """The digest."""
        name, subject, now = uuid7(next(_ids), bytes(10)), f"identity/key/{key}", self.now + timedelta(seconds=1)
        proof = SIGNERS[key].sign(key_proof(NETWORK, "identity.ProposeKey", by, name, subject, key))
        granted = [{"role": role, "prefix": prefix} for role, prefix in roles]
        said = {"key": key, "roles": granted, "held_by": "x", "not_after": START + timedelta(days=100), "proof": proof}
        command = ProposeKey.model_validate(said)
        self.ask(command, key, by, id=name)
        return sha256(record_of(command, subject, by, now, id=name).value).hexdigest()

    def propose_end(self, key: str, by: str, since: Any) -> str:
        """The digest."""
        name, now = uuid7(next(_ids), bytes(10)), self.now + timedelta(seconds=1)
        command = ProposeEnd(reason="compromised", suspected_since=since)
        self.ask(command, key, by, id=name)
        return sha256(record_of(command, f"identity/key/{key}", by, now, id=name).value).hexdigest()

    def rotate(self, key: str, successor: str) -> None:
        name, subject = uuid7(next(_ids), bytes(10)), f"identity/key/{key}"
        proof = SIGNERS[successor].sign(key_proof(NETWORK, "identity.RotateKey", key, name, subject, successor))
        command = RotateKey.model_validate({"successor": successor, "proof": proof, "overlap_seconds": 86_400})
        if self.ask(command, key, key, id=name) is None:
            self.bad.append(successor)

    def move(self, move: Move) -> None:
        """What a dishonest key does; it may be refused."""
        what, n, m, choice = move
        by, key, since = self.bad[n % len(self.bad)], self.everybody[m % len(self.everybody)], [None, START][choice % 2]
        match what:
            case "give":
                puppet = PUPPETS[m % len(PUPPETS)]
                held = [("providers.gpu", "providers/"), (REGISTRAR, "identity/"), *EVERYWHERE][choice % 3]
                self.waiting.append((puppet, self.propose(puppet, [held], by), False))
                self.bad.append(puppet)
            case "rotate":
                self.rotate(by, next(self.free))
            case "withdraw":
                role, prefix = [(REGISTRAR, "identity/"), (WRITES, ""), ("providers.gpu", "providers/")][choice % 3]
                self.ask(WithdrawRole.model_validate({"role": role, "prefix": prefix}), key, by)
            case "revoke":
                self.ask(RevokeKey(reason="compromised", suspected_since=since), key, by)
            case "propose end":
                self.waiting.append((key, self.propose_end(key, by, since), True))
            case _ if self.waiting:
                key, digest, is_end = self.waiting[m % len(self.waiting)]
                self.ask((ApproveEnd if is_end else ApproveKey).model_validate({"proposal": digest}), key, by)

    # What the honest do

    def register(self, key: str, roles: Iterable[tuple[str, str]], between: Iterator[Move]) -> None:
        digest = self.propose(key, roles, self.honest[0])
        for by in self.honest[1:]:
            self.interpose(between)
            self.ask(ApproveKey.model_validate({"proposal": digest}), key, by)

    def end(self, key: str, between: Iterator[Move]) -> None:
        if key == WRITER:
            # Whoever is a registrar ends, alone, a key that nobody has registered yet: first they lose that.
            for one in self.bad[:]:
                self.end(one, between)
            self.register(next(one for one in SECONDS if not self.is_ended(one)), EVERYWHERE, between)
        for by in self.honest:
            if self.is_ended(key) or self.ask(RevokeKey(reason="compromised", suspected_since=START), key, by) is None:
                return
        digest = self.propose_end(key, self.honest[0], START if key in self.bad else None)
        for by in self.honest[1:]:
            self.interpose(between)
            self.ask(ApproveEnd.model_validate({"proposal": digest}), key, by)

    def interpose(self, between: Iterator[Move]) -> None:
        if (move := next(between, None)) is not None:
            self.move(move)

    def is_ended(self, key: str) -> bool:
        known = self.desk.table.of(key)
        return known is not None and known.revoked


@settings(max_examples=300, deadline=None, print_blob=True)
@given(
    roots=st.sampled_from([3, 5, 7]), before=moves, between=moves, escapes=st.booleans(),
    target=st.sampled_from(["bad", "device", "writer", "honest"]),
)  # fmt: skip
def test_a_majority_of_honest_registrars_ends_any_key_whatever_the_others_do_first(
    roots: int, before: list[Move], between: list[Move], target: str, escapes: bool
) -> None:
    network = Network(roots)
    network.register(DEVICE, [("providers.gpu", "providers/")], iter(()))
    for move in before:
        network.move(move)
    key = {"bad": network.bad[0], "device": DEVICE, "writer": WRITER, "honest": network.honest[-1]}[target]
    ended_before = network.is_ended(key)
    if escapes and target == "bad":
        between = [("rotate", 0, 0, 0), *between]

    network.end(key, iter(between))

    assert network.is_ended(key)
    known = network.desk.table
    if target == "bad" and not ended_before:
        assert not [one for one in known.keys.values() if one.follows == key and not one.revoked]
    if target != "honest":
        assert all(known.keys[one].has(REGISTRAR, network.now) for one in network.honest)
        network.register(HEIR, [(REGISTRAR, "identity/")], iter(()))
        assert known.keys[HEIR].has(REGISTRAR, network.now)
