"""The key registry against a naive model of it: who may act, in which role, when. Chance chooses the history."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.keys import ed25519_signer, verify
from adapters.sql.store import KeyAuthority
from commands import Asked, Grant
from commands.identity import Identity
from contracts import CommandRecord, Did, parse_command, uuid7
from contracts.identity import ApproveKey, Found, ProposeKey, RevokeKey, RotateKey, WithdrawRole, key_proof
from domain import Aggregate, Refused, StreamAdvanced
from domain.identity import BadProof
from ops.worker.authority import Permit, changed, permitted

NETWORK = "test"
START = datetime(2026, 1, 1, tzinfo=UTC)
SIGNERS = {signer.did: signer for signer in (ed25519_signer(bytes([n]) * 32) for n in range(1, 8))}
ROOTS, OTHERS = tuple(SIGNERS)[:3], tuple(SIGNERS)[3:]
ROLES = ("providers.gpu", "liveness.device", "identity.verifier", "identity.registrar")
NEED_TWO = {"identity.verifier", "identity.registrar"}


class Paper:
    """Streams in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Aggregate[Any]] = {}

    def load(self, kind: Any, stream: str) -> Any:
        return self.kept.setdefault(stream, kind(stream))


def record_of(command: Any, subject: str, by: str, now: datetime, **more: Any) -> CommandRecord:
    asked = {"subject": subject, "source": by, "network": NETWORK, "id": uuid7(1, bytes(10)), "time": now, **more}
    value = CommandRecord.encode(command, **asked)
    return parse_command(value, subject.encode(), [("signature", b"x")])


class Desk:
    """A service with the authority that its events give: identity without a worker."""

    def __init__(self) -> None:
        self.streams = Paper()
        self.service = Identity(self.streams, verify)
        self.authority: dict[str, KeyAuthority] = {}
        self.recorded = 0

    def ask(self, command: Any, subject: str, by: str, now: datetime, **more: Any) -> list[Any]:
        """The events. Raises Refused; then nothing has changed."""
        before = deepcopy(self.streams.kept)
        try:
            known = self.authority.get(by)
            record = record_of(command, subject, by, now, **more)
            aggregate = self.service.decide(command, Asked(record, now, known.holder if known else by))
        except Refused:
            assert {k: v for k, v in self.streams.kept.items() if v.version} == {k: v for k, v in before.items() if v.version}
            raise
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        for event in events:
            self.recorded += 1
            for change in self.service.authority(event, now):
                shard, n = "identity.events/0", self.recorded
                followed = self.authority.get(change.follows) if isinstance(change, Grant) and change.follows else None
                self.authority[change.key] = changed(self.authority.get(change.key), change, shard, n, followed)
        return events

    def may(self, key: str, role: str, subject: str, now: datetime) -> bool:
        kind = type("AnyCommand", (), {"wire": type("Wire", (), {"roles": (role,), "type": "x", "stream": "x"})})
        record = record_of(RevokeKey(reason="retired"), subject, key, now)
        return isinstance(permitted(self.authority.get(key), kind, record, now), Permit)  # type: ignore[arg-type]


class Model:
    """The registry as one would explain it: a list of what was granted, and what ended."""

    def __init__(self) -> None:
        self.grants: list[tuple[str, str, str, datetime]] = []
        self.own: dict[str, list[tuple[str, str]]] = {}
        self.own_end: dict[str, datetime] = {}
        self.revoked: set[str] = set()
        self.known: set[str] = set()
        self.rotated: dict[str, str] = {}
        self.persons: dict[str, str] = {}
        self.withdrawn: dict[str, set[tuple[str, str]]] = {}
        self.waiting: dict[str, dict[str, tuple[tuple[tuple[str, str], ...], datetime, list[str]]]] = {}

    def give(self, key: str, roles: Any, end: datetime) -> None:
        for role, prefix in roles:
            self.grants = [grant for grant in self.grants if grant[:3] != (key, role, prefix)]
            self.grants.append((key, role, prefix, end))

    def person(self, key: str) -> str:
        return self.persons.get(key, key)

    def may(self, key: str, role: str, subject: str, now: datetime) -> bool:
        return key not in self.revoked and any(
            k == key and r == role and subject.startswith(prefix) and now <= end for k, r, prefix, end in self.grants
        )


keys = st.sampled_from(OTHERS)
anybody = st.sampled_from(tuple(SIGNERS))
role_lists = st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True)


class Registry(RuleBasedStateMachine):
    """Every decision is made twice: the second records nothing or refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.desk, self.model, self.now, self.count = Desk(), Model(), START, 0

    @initialize(quorum=st.integers(1, 3))
    def found(self, quorum: int) -> None:
        command = Found(roots=ROOTS, quorum=quorum, chain_id=800_000, profile="consumer")
        self.desk.ask(command, f"identity/network/{NETWORK}", ROOTS[0], self.now)
        self.quorum = quorum
        for root in ROOTS:
            self.model.give(root, [("identity.registrar", "identity/")], self.now + timedelta(days=366))

    @rule(days=st.sampled_from([0.001, 1, 40, 200]))
    def time_passes(self, days: float) -> None:
        self.now += timedelta(days=days)

    @rule(key=keys, by=anybody, roles=role_lists, days=st.sampled_from([-1, 1, 100, 366, 367]))
    def propose(self, key: str, by: str, roles: list[str], days: int) -> None:
        model, end = self.model, self.now + timedelta(days=days)
        pairs = tuple((role, f"{role.partition('.')[0]}/") for role in roles)
        self.count += 1
        command = ProposeKey.model_validate(
            {
                "key": Did(key), "roles": tuple({"role": r, "prefix": p} for r, p in pairs), "held_by": f"n{self.count}",
                "not_after": end, "proof": SIGNERS[key].sign(key_proof(NETWORK, key)),
            }
        )  # fmt: skip
        has_all = key in model.own_end and model.own_end[key] == end and set(pairs) <= set(model.own.get(key, ()))
        allowed = key not in model.revoked and 0 < days <= 366 and by != key
        # The same record does not come twice to a service, and another one is another proposal.
        waits = bool(NEED_TWO & set(roles)) and not has_all
        events = self._ask(command, key, by, allowed=allowed, second="is another" if waits else "nothing")
        if not allowed or has_all:
            assert not events
            return
        model.known.add(key)
        digest = sha256(record_of(command, f"identity/key/{key}", by, self.now).value).hexdigest()
        model.waiting.setdefault(key, {})[digest] = (pairs, end, [model.person(by)])
        if not waits:
            self._register(key, pairs, end)

    @precondition(lambda self: any(self.model.waiting.values()))
    @rule(by=anybody, chance=st.randoms(use_true_random=False))
    def approve(self, by: str, chance: Any) -> None:
        key = chance.choice(sorted(key for key, waiting in self.model.waiting.items() if waiting))
        digest = chance.choice(sorted(self.model.waiting[key]))
        pairs, end, consenting = self.model.waiting[key][digest]
        person = self.model.person(by)
        allowed = key not in self.model.revoked and person not in consenting and by != key

        self._ask(ApproveKey(proposal=digest), key, by, allowed=allowed, second="refused")

        if allowed:
            consenting.append(person)
            needed = max(2, self.quorum) if ("identity.registrar", "identity/") in pairs else 2
            if len(consenting) >= needed:
                self._register(key, pairs, end)

    @rule(key=keys, successor=keys, seconds=st.sampled_from([0, 60, 86_400]))
    def rotate(self, key: str, successor: str, seconds: int) -> None:
        model = self.model
        proof = SIGNERS[successor].sign(key_proof(NETWORK, successor))
        is_new = model.rotated.get(key) is None and successor not in model.known | model.revoked and successor != key
        repeated = key in model.rotated and model.rotated[key] == successor
        has_roles = bool(model.own.get(key))
        allowed = key not in model.revoked and key in model.own_end and ((is_new and has_roles) or repeated)
        command = RotateKey(successor=successor, proof=proof, overlap_seconds=seconds)

        self._ask(command, key, key, allowed=allowed)

        if allowed and not repeated:
            until = min(self.now + timedelta(seconds=seconds), model.own_end[key])
            model.give(successor, model.own[key], model.own_end[key])
            model.give(key, model.own[key], until)
            model.rotated[key], model.own_end[key] = successor, until
            model.persons[successor] = model.person(key)

    @rule(key=keys, role=st.sampled_from(ROLES), chance=st.randoms(use_true_random=False))
    def withdraw(self, key: str, role: str, chance: Any) -> None:
        own = self.model.own.get(key, [])
        # Mostly one that the key has.
        pair = chance.choice([*own, *own, (role, f"{role.partition('.')[0]}/")])
        ended = pair in self.model.withdrawn.get(key, ()) or key in self.model.revoked
        allowed = ended or not own or pair in own

        self._ask(WithdrawRole(role=pair[0], prefix=pair[1]), key, ROOTS[0], allowed=allowed)

        if allowed and not ended:
            self.model.known.add(key)
            self.model.withdrawn.setdefault(key, set()).add(pair)
            self.model.own[key] = [one for one in own if one != pair]
            self.model.grants = [grant for grant in self.model.grants if grant[:3] != (key, *pair)]

    @rule(key=keys)
    def revoke(self, key: str) -> None:
        self._ask(RevokeKey(reason="compromised"), key, ROOTS[1], allowed=True)
        self.model.revoked.add(key)
        self.model.waiting.pop(key, None)
        self.model.own[key] = []

    @invariant()
    def everybody_may_what_the_model_says(self) -> None:
        for key in SIGNERS:
            for role in ROLES:
                subject = f"{role.partition('.')[0]}/x"
                assert self.desk.may(key, role, subject, self.now) == self.model.may(key, role, subject, self.now), (key, role)

    def _register(self, key: str, pairs: Any, end: datetime) -> None:
        own = self.model.own.get(key, [])
        self.model.own[key] = [one for one in own if one not in pairs] + list(pairs)
        self.model.own_end[key] = end
        self.model.withdrawn.get(key, set()).difference_update(pairs)
        self.model.waiting.pop(key, None)
        self.model.give(key, pairs, end)

    def _ask(self, command: Any, key: str, by: str, *, allowed: bool, second: str = "nothing") -> list[Any]:
        """Ask twice: the second time `second` says whether nothing is recorded, or it is refused."""
        subject = f"identity/key/{key}"
        try:
            events = self.desk.ask(command, subject, by, self.now)
        except Refused:
            assert not allowed
            return []
        assert allowed
        if second == "refused":
            with pytest.raises(Refused):
                self.desk.ask(command, subject, by, self.now)
        elif second == "nothing":
            assert self.desk.ask(command, subject, by, self.now) == []
        return events


Registry.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None, print_blob=True)
TestRegistry = Registry.TestCase


# What the service adds to the rules


def proposal(key: str, proof: str) -> ProposeKey:
    return ProposeKey.model_validate(
        {
            "key": Did(key), "roles": ({"role": ROLES[0], "prefix": "providers/"},), "held_by": "x",
            "not_after": START + timedelta(days=1), "proof": proof,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signer", "text"),
    [
        (OTHERS[1], key_proof(NETWORK, OTHERS[0])),
        (OTHERS[0], key_proof("elsewhere", OTHERS[0])),
        (OTHERS[0], key_proof(NETWORK, OTHERS[1])),
        (OTHERS[0], OTHERS[0].encode()),
    ],
    ids=["another key's", "for another network", "for another key", "over something else"],
)
def test_nobody_registers_a_key_that_does_not_agree(signer: str, text: bytes) -> None:
    """Or somebody's public key would be given roles that he never asked for, in a network that he does not know."""
    command = proposal(OTHERS[0], SIGNERS[signer].sign(text))

    with pytest.raises(BadProof) as refusal:
        Desk().ask(command, f"identity/key/{OTHERS[0]}", ROOTS[0], START)

    assert refusal.value.field == "proof"


@pytest.mark.parametrize("version", [1, 7])
def test_a_stream_at_another_version_than_expected_is_not_asked(version: int) -> None:
    command = proposal(OTHERS[0], SIGNERS[OTHERS[0]].sign(key_proof(NETWORK, OTHERS[0])))

    with pytest.raises(StreamAdvanced):
        Desk().ask(command, f"identity/key/{OTHERS[0]}", ROOTS[0], START, streamversion=version)

    assert Desk().ask(command, f"identity/key/{OTHERS[0]}", ROOTS[0], START, streamversion=0)


def test_a_root_is_a_registrar_for_as_long_as_a_service_key_lives() -> None:
    desk = Desk()
    command = Found(roots=ROOTS, quorum=2, chain_id=800_000, profile="consumer")

    desk.ask(command, f"identity/network/{NETWORK}", ROOTS[0], START)

    end = START + timedelta(days=366)
    assert all(desk.may(root, "identity.registrar", "identity/x", end) for root in ROOTS)
    assert not any(desk.may(root, "identity.registrar", "identity/x", end + timedelta(microseconds=1)) for root in ROOTS)
