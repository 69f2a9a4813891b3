"""What several streams decide together: claims, cases and collaterals; and evidence that is really signed."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from adapters.keys import Signer, ed25519_signer, verify
from commands import Asked
from commands.staking import Staking
from contracts import Command, CommandRecord, EventId, Label, parse_command, uuid7
from contracts.staking import (
    SPACE,
    AdmitDevice,
    Attest,
    Base,
    CaseExecuted,
    CaseId,
    ClaimSerial,
    CountDrip,
    DeclineDevice,
    DeregisterDevice,
    Dispute,
    Drip,
    ExecuteCase,
    FreeSerial,
    HoldForCase,
    JsonText,
    LapseCase,
    Observe,
    PostBond,
    ProveEquivocation,
    ProveRefutation,
    ReleaseHold,
    ResolveDispute,
    Share,
    SignatureText,
    SignedCommand,
    Slash,
    SubjectName,
    SuspendDevice,
    Tombstone,
    case_id,
    case_stream,
    collateral_stream,
    faucet_day_stream,
    key_claim_stream,
    serial_stream,
)
from contracts.treasury import HoldId
from domain import Refused
from domain.staking import (
    BaseDiffers,
    BoundElsewhere,
    CasePending,
    FaucetEmpty,
    NotAttested,
    NotClaimed,
    NotEquivocal,
    NotExecuted,
    NotRefuted,
    StillOpen,
    Tombstoned,
)
from domain.staking.arithmetic import drawn
from tests.commands.carrying import Elsewhere
from tests.commands.test_identity import Paper
from tests.domain.given import digest
from tests.domain.staking import (
    ACCOUNT,
    DEVICE,
    MIDNIGHT,
    NOON,
    ROOT,
    SEED,
    TODAY,
    WALLET,
    a_registration,
    an_accusation,
    finding,
    request_id,
    unstake,
)

NETWORK = "test"
KEYS = [ed25519_signer(bytes([n]) * 32) for n in range(1, 9)]
ORACLES = {SubjectName(key.did): key for key in KEYS[:7]}
DEVICE_KEY = KEYS[7]
PANEL = drawn(SEED, ORACLES)
BOND = collateral_stream("bond", DEVICE)
CASE = case_id(DEVICE, "downtime", TODAY, digest("closed"))
LATER = MIDNIGHT + timedelta(minutes=10)
DAY = timedelta(days=1)


def signed(command: Command, subject: str, by: Signer, network: str = NETWORK) -> SignedCommand:
    value = CommandRecord.encode(command, subject=subject, source=by.did, network=network, id=uuid7(1, bytes(10)), time=NOON)
    return SignedCommand(value=JsonText.checked(value.decode()), signature=SignatureText.checked(by.sign(value)))


class Desk:
    """Staking without a worker; what is refused leaves no trace."""

    def __init__(self) -> None:
        self.streams = Paper()
        self.service = Staking(self.streams, verify)
        self.elsewhere = Elsewhere(NETWORK)
        self.serial = 0

    def ask(
        self, command: Command, subject: str, now: datetime = NOON, by: str = KEYS[0].did, network: str = NETWORK
    ) -> list[Any]:
        self.serial += 1
        value = CommandRecord.encode(
            command, subject=subject, source=by, network=network, id=request_id(self.serial), time=now
        )  # fmt: skip
        record = parse_command(value, subject.encode(), [("signature", b"x")])
        # As a worker has it: read from the wire.
        said = type(command).read(record.data)
        aggregate = self.service.decide(said, Asked(record, now, by, stands=self.elsewhere.stands))
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        return events

    def refuses(self, refusal: type[Refused], command: Command, subject: str, now: datetime = NOON, **more: Any) -> None:
        for _ in range(2):
            with pytest.raises(refusal) as caught:
                self.ask(command, subject, now, **more)
            assert type(caught.value) is refusal

    def bond(self, units: int = 100 * SPACE, device: str = DEVICE, at: datetime = NOON - 3 * DAY) -> None:
        self.stake(units, collateral_stream("bond", device), at)

    def oracles(self) -> None:
        for oracle in ORACLES:
            self.stake(10_000 * SPACE, collateral_stream("oracle", oracle), NOON - 3 * DAY)

    def stake(self, units: int, stream: str, at: datetime, hold: str = "h-1") -> list[Any]:
        return self.ask(self.elsewhere.stake(units, stream, at, hold), stream, at)

    def register(self, device: str = DEVICE, **registration: Any) -> None:
        said = a_registration(**registration)
        self.ask(said, collateral_stream("bond", device))
        self.ask(ClaimSerial(device=SubjectName(device)), serial_stream(said.serial_hash))
        self.ask(ClaimSerial(device=SubjectName(device)), key_claim_stream(said.device_key))
        self.ask(AdmitDevice(), collateral_stream("bond", device))

    def accuse(self, signatures: int = 5, **changes: Any) -> None:
        self.ask(an_accusation(panel=PANEL, **changes), case_stream(CASE), LATER)
        for oracle in PANEL[:signatures]:
            self.ask(finding(), case_stream(CASE), LATER, by=oracle)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# From breach to slash


def test_a_breach_costs_a_tenth_of_the_bond_and_suspends(desk: Desk) -> None:
    desk.bond()
    desk.register()
    desk.accuse()

    held = desk.ask(HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER)
    executed = desk.ask(ExecuteCase(), case_stream(CASE), LATER + DAY + timedelta(seconds=1))
    slashed = desk.ask(Slash(case=CASE), BOND, LATER + 2 * DAY)
    suspended = desk.ask(SuspendDevice(cause=CASE), BOND, LATER + 2 * DAY)

    assert names(held + executed + slashed + suspended) == ["HeldForCase", "CaseExecuted", "Slashed", "DeviceSuspended"]
    assert executed == [CaseExecuted(amounts=(Share(kind="bond", subject=SubjectName(DEVICE), units=10 * SPACE),))]
    assert slashed[0].left == 90 * SPACE


def test_nothing_is_slashed_suspended_or_tombstoned_before_its_case_is_executed(desk: Desk) -> None:
    desk.bond()
    desk.register()
    desk.accuse()
    desk.ask(HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER)

    for command in (Slash(case=CASE), SuspendDevice(cause=CASE), Tombstone(case=CASE, key=DEVICE)):
        desk.refuses(NotExecuted, command, BOND, LATER)
    desk.refuses(StillOpen, ReleaseHold(case=CASE), BOND, LATER)


def test_a_case_holds_what_it_says_and_only_of_whom_it_accuses(desk: Desk) -> None:
    desk.bond()
    desk.bond(device="another")
    desk.accuse(signatures=4)
    desk.refuses(NotAttested, HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER)
    desk.ask(finding(), case_stream(CASE), LATER, by=PANEL[4])

    desk.refuses(NotAttested, HoldForCase(case=CASE, amount=10 * SPACE + 1), BOND, LATER)
    desk.refuses(NotAttested, HoldForCase(case=CASE, amount=10 * SPACE), collateral_stream("bond", "another"), LATER)


def test_a_case_is_opened_on_what_its_collateral_had_when_the_epoch_began(desk: Desk) -> None:
    desk.bond()
    desk.stake(5 * SPACE, BOND, NOON, "h-2")
    wrong = Base(kind="bond", subject=SubjectName(DEVICE), units=105 * SPACE)

    desk.refuses(BaseDiffers, an_accusation(panel=PANEL, bases=(wrong,)), case_stream(CASE), LATER)
    twice = an_accusation().bases * 2
    desk.refuses(BaseDiffers, an_accusation(panel=PANEL, bases=twice), case_stream(CASE), LATER)
    desk.accuse()


def test_a_lapsed_case_gives_back_what_another_never_held(desk: Desk) -> None:
    desk.bond()
    desk.accuse(signatures=4)

    desk.ask(LapseCase(), case_stream(CASE), LATER + timedelta(hours=7))

    desk.refuses(NotAttested, HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER + DAY)
    with pytest.raises(Refused):
        desk.ask(ReleaseHold(case=CASE), BOND, LATER + DAY)


# Devices


def test_two_devices_with_one_key_cannot_both_register_nor_one_gpu_under_two_ids(desk: Desk) -> None:
    desk.bond()
    desk.register()
    for other, said in (("same-key", a_registration(serial="b")), ("same-gpu", a_registration(key=KEYS[0].did))):  # type: ignore[arg-type]
        desk.bond(device=other)
        desk.ask(said, collateral_stream("bond", other))

    desk.refuses(BoundElsewhere, ClaimSerial(device=SubjectName("same-key")), key_claim_stream(DEVICE))
    desk.refuses(BoundElsewhere, ClaimSerial(device=SubjectName("same-gpu")), serial_stream(digest("serial")))

    for other in ("same-key", "same-gpu"):
        desk.refuses(NotClaimed, AdmitDevice(), collateral_stream("bond", other))
        desk.ask(DeclineDevice(cause=Label("BoundElsewhere")), collateral_stream("bond", other))


def test_a_device_moved_to_another_wallet_keeps_its_open_case_and_its_bond(desk: Desk) -> None:
    desk.bond()
    desk.register()
    desk.accuse()
    desk.ask(HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER)

    desk.ask(DeregisterDevice(), BOND, LATER)
    desk.refuses(CasePending, FreeSerial(), serial_stream(digest("serial")), LATER)
    desk.register(wallet="0x" + "b" * 40)
    desk.ask(ExecuteCase(), case_stream(CASE), LATER + 2 * DAY)
    [slashed] = desk.ask(Slash(case=CASE), BOND, LATER + 2 * DAY)

    assert slashed.amount == 10 * SPACE


def test_a_device_that_left_frees_its_serial_number(desk: Desk) -> None:
    desk.bond()
    desk.register()
    desk.ask(DeregisterDevice(), BOND)

    assert names(desk.ask(FreeSerial(), serial_stream(digest("serial")))) == ["SerialFreed"]
    assert desk.ask(FreeSerial(), serial_stream(digest("serial"))) == []


# Equivocation


def equivocation(first: Attest, second: Attest, by: Signer = KEYS[0], about: str = "") -> ProveEquivocation:
    stream = about or case_stream(CASE)
    return ProveEquivocation(first=signed(first, stream, by), second=signed(second, stream, by))


def lie_of(key: Signer) -> CaseId:
    evidence = sha256(f"staking.Attest\n{case_stream(CASE)}\n{key.did}".encode()).hexdigest()
    return case_id(key.did, "proof", TODAY + 1, evidence)


def test_an_oracle_that_signs_both_14_and_15_for_one_device_loses_half_its_stake_and_its_key(desk: Desk) -> None:
    desk.oracles()
    desk.bond()
    desk.accuse()
    liar = ORACLES[PANEL[0]]
    case, stream = lie_of(liar), collateral_stream("oracle", liar.did)

    opened, attested = desk.ask(equivocation(finding(15), finding(14), liar), case_stream(case), LATER)
    desk.ask(HoldForCase(case=case, amount=5_000 * SPACE), stream, LATER)
    desk.ask(ExecuteCase(), case_stream(case), LATER + 2 * DAY)
    [slashed] = desk.ask(Slash(case=case), stream, LATER + 2 * DAY)
    desk.ask(Tombstone(case=case, key=opened.key), stream, LATER + 2 * DAY)

    assert (opened.subject, opened.percent, opened.needed) == (liar.did, 50, 0)
    assert [share.units for share in attested.amounts] == [5_000 * SPACE]
    assert (slashed.amount, slashed.left) == (5_000 * SPACE, 5_000 * SPACE)
    again = desk.elsewhere.stake(10_000 * SPACE, stream, LATER + 3 * DAY, "h-2")
    desk.refuses(Tombstoned, again, stream, LATER + 3 * DAY)


def test_a_third_finding_is_no_second_offence(desk: Desk) -> None:
    desk.oracles()
    desk.bond()
    desk.accuse()
    liar = ORACLES[PANEL[0]]
    desk.ask(equivocation(finding(15), finding(14), liar), case_stream(lie_of(liar)), LATER)

    assert desk.ask(equivocation(finding(15), finding(13), liar), case_stream(lie_of(liar)), LATER) == []


def test_what_does_not_contradict_itself_proves_nothing(desk: Desk) -> None:
    desk.oracles()
    desk.bond()
    desk.accuse()
    liar, other = ORACLES[PANEL[0]], ORACLES[PANEL[1]]
    stream = case_stream(lie_of(liar))
    lie = equivocation(finding(15), finding(14), liar)
    forged = lie.second.model_copy(update={"value": JsonText(lie.second.value.replace('"missed":14', '"missed":13'))})
    cases = {
        "equal": equivocation(finding(15), finding(15), liar),
        "two signers": ProveEquivocation(first=lie.first, second=signed(finding(14), case_stream(CASE), other)),
        "forged": ProveEquivocation(first=lie.first, second=forged),
        "another network": ProveEquivocation(first=lie.first, second=signed(finding(14), case_stream(CASE), liar, "else")),
        "no finding": ProveEquivocation(
            first=signed(ExecuteCase(), case_stream(CASE), liar), second=signed(LapseCase(), case_stream(CASE), liar)
        ),
        "no case": equivocation(finding(15), finding(14), liar, about=str(BOND)),
        "no such case": equivocation(finding(15), finding(14), liar, about="staking/case/nothing"),
        "not on its panel": equivocation(finding(15), finding(14), DEVICE_KEY),
    }

    for said in cases.values():
        desk.refuses(NotEquivocal, said, stream, LATER)


def test_evidence_that_is_no_record_proves_nothing(desk: Desk) -> None:
    rubbish = SignedCommand(value=JsonText('{"a":1}'), signature=SignatureText("ed25519:" + "A" * 86))

    desk.refuses(NotEquivocal, ProveEquivocation(first=rubbish, second=rubbish), case_stream(CASE))


# Refutation

CHUNKS = [bytes([n]) * 100 for n in range(5)]


def leaf(chunk: bytes) -> bytes:
    return sha256(b"\0" + chunk).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def tree() -> tuple[bytes, dict[int, list[bytes]]]:
    """Root and paths of five leaves, by hand (RFC 9162, 2.1.1)."""
    a, b, c, d, e = map(leaf, CHUNKS)
    ab, cd = node(a, b), node(c, d)
    root = node(node(ab, cd), e)
    return root, {0: [b, cd, e], 1: [a, cd, e], 2: [d, ab, e], 3: [c, ab, e], 4: [node(ab, cd)]}


class AnswerChallenge(Command, role="storage.node", stream="storage/proof"):
    """Storage's, as far as its proof goes."""

    epoch: int
    answers: list[dict[str, Any]]


AnswerChallenge.wire = replace(AnswerChallenge.wire, type="storage.AnswerChallenge", context="storage")


def an_answer(by: Signer, chunk: bytes | None = None) -> SignedCommand:
    _, paths = tree()
    answers = [
        {"index": n, "chunk_hash": leaf(chunk if chunk and n == 2 else CHUNKS[n]).hex(), "path": [p.hex() for p in paths[n]]}
        for n in (0, 2, 3, 4)
    ]
    return signed(AnswerChallenge(epoch=TODAY, answers=answers), "storage/proof/pin.0", by)


def manifest() -> JsonText:
    return JsonText.checked(json.dumps({"chunk": 100, "chunks": 5, "root": tree()[0].hex(), "size": 500}))


def refutation() -> str:
    evidence = sha256(f"storage.AnswerChallenge\nstorage/proof/pin.0\n{DEVICE_KEY.did}".encode()).hexdigest()
    return case_stream(case_id(DEVICE, "proof", TODAY, evidence))


def test_a_proof_that_reaches_no_root_costs_half_of_bond_and_stake(desk: Desk) -> None:
    desk.bond()
    desk.stake(1_000 * SPACE, collateral_stream("stake", WALLET), NOON - 3 * DAY)
    desk.register(key=DEVICE_KEY.did)
    lie = an_answer(DEVICE_KEY, b"not what was stored")

    opened, attested = desk.ask(ProveRefutation(answer=lie, manifest=manifest()), refutation(), LATER)

    assert opened.key == DEVICE_KEY.did
    assert [(share.kind, share.units) for share in attested.amounts] == [("bond", 50 * SPACE), ("stake", 500 * SPACE)]
    assert attested.proof == (lie,)


def test_an_answer_that_reaches_its_root_is_refuted_by_nobody(desk: Desk) -> None:
    desk.bond()
    desk.register(key=DEVICE_KEY.did)
    good = an_answer(DEVICE_KEY)
    anothers = an_answer(KEYS[0], b"not what was stored")

    desk.refuses(NotRefuted, ProveRefutation(answer=good, manifest=manifest()), refutation(), LATER)
    desk.refuses(NotRefuted, ProveRefutation(answer=anothers, manifest=manifest()), refutation(), LATER)
    for broken in ('{"chunks":5}', '{"chunks":5,"root":"xy"}', '{"chunks":"five","root":"00"}'):
        lie = an_answer(DEVICE_KEY, b"x")
        desk.refuses(NotRefuted, ProveRefutation(answer=lie, manifest=JsonText(broken)), refutation(), LATER)


# The rest has its door


def test_a_dispute_is_put_under_the_id_of_its_command(desk: Desk) -> None:
    desk.bond()
    desk.accuse()
    desk.ask(PostBond(hold=HoldId("h-9"), account=ACCOUNT, amount=10 * SPACE), case_stream(CASE), LATER)

    [disputed] = desk.ask(Dispute(hold=HoldId("h-9"), statement=ROOT), case_stream(CASE), LATER)
    vote = ResolveDispute(proposal=disputed.proposal, upheld=False, quorum_met=True)

    assert names(desk.ask(vote, case_stream(CASE), LATER)) == ["DisputeResolved", "CaseVoided"]


def test_the_faucet_is_empty_when_its_day_is_counted_out(desk: Desk) -> None:
    day = faucet_day_stream(TODAY)
    desk.ask(CountDrip(drip=EventId(request_id(1)), amount=99_901 * SPACE), day)

    assert desk.ask(CountDrip(drip=EventId(request_id(1)), amount=99_901 * SPACE), day) == []
    desk.refuses(FaucetEmpty, Drip(), f"staking/faucet/{WALLET}")
    assert names(desk.ask(Drip(), f"staking/faucet/{WALLET}", MIDNIGHT)) == ["Dripped"]


def test_a_log_of_space_staking_is_mirrored(desk: Desk) -> None:
    said = Observe(kind="stake", amount=10**21, log=Label("0xab:3"))

    assert names(desk.ask(said, f"staking/space/{WALLET}")) == ["SpaceStakeObserved"]


def test_what_is_unstaked_is_named_by_its_command(desk: Desk) -> None:
    desk.bond()

    [requested] = desk.ask(unstake(5), BOND)

    assert requested.request == request_id(desk.serial)
