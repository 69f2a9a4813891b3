"""Asking staking: put at risk and take out, register devices, accuse, witness, dispute, execute."""

from datetime import timedelta
from typing import assert_never, cast

from commands import Service
from contracts import BadDocument, BadRecord, EventId, StreamName, Uuid, parse_command, parse_strictly, read_event
from contracts.staking import (
    ATTEST_SECONDS,
    STAKING,
    AdmitDevice,
    Appeal,
    Attest,
    Base,
    CancelUnstake,
    ClaimSerial,
    CountDrip,
    DeclineDevice,
    DeregisterDevice,
    Dispute,
    Drip,
    ExecuteCase,
    FreeSerial,
    HoldForCase,
    Kind,
    LapseCase,
    Observe,
    OpenCase,
    PostBond,
    ProveEquivocation,
    ProveRefutation,
    RegisterDevice,
    ReleaseHold,
    RequestUnstake,
    ResolveAppeal,
    ResolveDispute,
    ResumeDevice,
    ReviewTier,
    SignedCommand,
    Slash,
    Stake,
    StakingCommand,
    StakingParameters,
    SubjectName,
    SuspendDevice,
    Tombstone,
    Withdraw,
    case_stream,
    collateral_stream,
    faucet_day_stream,
    key_claim_stream,
    serial_stream,
)
from contracts.treasury import Held
from domain import Refused
from domain.staking import BaseDiffers, NotAttested, NotEquivocal, NotExecuted, NotHeld, NotRefuted, StillOpen
from domain.staking.arithmetic import epoch_at, starts
from domain.staking.cases import SlashCase
from domain.staking.collateral import Collateral
from domain.staking.devices import Claim
from domain.staking.mirrors import Faucet, FaucetDay, SpaceStake
from domain.staking.proofs import Said, are_equivocal, evidence_of, is_refuted


class Staking(Service):
    """What is at risk, and what becomes of it."""

    def handle(self, command: StakingCommand) -> None:
        match command:
            case Stake() | RequestUnstake() | CancelUnstake() | Withdraw():
                self._own(command)
            case ReviewTier():
                self.load(Collateral).review_tier(self.asked.now, self._terms)
            case HoldForCase() | ReleaseHold() | Slash() | Tombstone() | SuspendDevice():
                self._sentence(command)
            case RegisterDevice() | DeregisterDevice() | AdmitDevice() | DeclineDevice() | ResumeDevice():
                self._device(command)
            case ClaimSerial(device=device):
                self.load(Claim).claim(device)
            case FreeSerial():
                claim = self.load(Claim)
                claim.free(self._collateral("bond", claim.device) if claim.device else None)
            case OpenCase():
                self._open(command)
            case ProveEquivocation():
                self._prove_equivocation(command)
            case ProveRefutation():
                self._prove_refutation(command)
            case (
                Attest() | PostBond() | Dispute() | Appeal() | ResolveDispute() | ResolveAppeal() | ExecuteCase() | LapseCase()
            ):
                self._case(command)
            case Observe():
                self.load(SpaceStake).observe(command)
            case Drip():
                today = self.read(FaucetDay, faucet_day_stream(epoch_at(self.asked.now)))
                self.load(Faucet).drip(self.asked.record.network, today, self.asked.now)
            case CountDrip():
                self.load(FaucetDay).count(command)
            case _:
                assert_never(command)

    def _own(self, command: Stake | RequestUnstake | CancelUnstake | Withdraw) -> None:
        collateral, now = self.load(Collateral), self.asked.now
        match command:
            case Stake():
                record = self.carried(command.held, "held", NotHeld)
                held = cast("Held", read_event(record.document))
                collateral.stake(held, StreamName(record.subject), EventId(record.id), now, self._terms)
            case RequestUnstake():
                collateral.request_unstake(command, Uuid(self.asked.record.id), now, self._terms)
            case CancelUnstake():
                collateral.cancel(command, now, self._terms)
            case Withdraw():
                collateral.withdraw(command, now)
            case _:
                assert_never(command)

    def _sentence(self, command: HoldForCase | ReleaseHold | Slash | Tombstone | SuspendDevice) -> None:
        """What a case does to a collateral: nothing that the case itself does not say."""
        collateral = self.load(Collateral)
        match command:
            case HoldForCase():
                case = self._read_case(command.case)
                # A hold that comes after the execution is late, and as good.
                if case.outcome == "voided" or case.share_of(collateral.kind, collateral.subject) != command.amount:
                    raise NotAttested(field="amount")
                collateral.hold(command)
            case ReleaseHold():
                if self._read_case(command.case).outcome not in ("voided", "lapsed"):
                    raise StillOpen(field="case")
                collateral.release(command)
            case Slash():
                self._require_executed(command.case)
                collateral.slash(command, self.asked.now, self._terms)
            case Tombstone():
                self._require_executed(command.case)
                collateral.tombstone(command)
            case SuspendDevice():
                self._require_executed(command.cause)
                collateral.suspend(command)
            case _:
                assert_never(command)

    def _device(self, command: RegisterDevice | DeregisterDevice | AdmitDevice | DeclineDevice | ResumeDevice) -> None:
        bond = self.load(Collateral)
        match command:
            case RegisterDevice(device_key=key):
                bond.register(command, self._collateral("oracle", key))
            case DeregisterDevice():
                bond.deregister()
            case AdmitDevice():
                bond.admit(self.asked.now, is_claimed=self._is_claimed(bond))
            case DeclineDevice():
                bond.decline(command)
            case ResumeDevice():
                bond.resume(self.asked.now)
            case _:
                assert_never(command)

    def _open(self, command: OpenCase) -> None:
        at_risk = [self._collateral(base.kind, base.subject).holding.at_start_of(command.epoch) for base in command.bases]
        if len({(base.kind, base.subject) for base in command.bases}) != len(command.bases):
            raise BaseDiffers("a collateral is named twice", "bases")
        self.load(SlashCase).open(command, at_risk, self.asked.now, self._terms_of(command.epoch))

    def _case(
        self, command: Attest | PostBond | Dispute | Appeal | ResolveDispute | ResolveAppeal | ExecuteCase | LapseCase
    ) -> None:
        case, now = self.load(SlashCase), self.asked.now
        terms = self._terms_of(case.opened.epoch) if case.opened else STAKING
        match command:
            case Attest():
                case.attest(command, actor=self.asked.actor, person=self.asked.person, now=now, terms=terms)
            case PostBond():
                case.post(command)
            case Dispute():
                case.dispute(command, Uuid(self.asked.record.id), now)
            case Appeal():
                case.appeal(command, now, terms)
            case ResolveDispute():
                case.resolve_dispute(command, now, terms)
            case ResolveAppeal():
                case.resolve_appeal(command, actor=self.asked.actor, person=self.asked.person, now=now)
            case ExecuteCase():
                case.execute(now)
            case LapseCase():
                case.lapse(now)
            case _:
                assert_never(command)

    def _prove_equivocation(self, command: ProveEquivocation) -> None:
        first, second = self._said(command.first, NotEquivocal), self._said(command.second, NotEquivocal)
        if not are_equivocal(first, second):
            raise NotEquivocal
        # When it lied is what the case says about which it lied, not what the liar's record says.
        about = self.read(SlashCase, first.subject)
        oracle = about.oracle_of(first.source)
        if about.opened is None or oracle is None or first.subject == self.asked.stream:
            raise NotEquivocal("its key was not asked about that case")
        epoch = epoch_at(about.opened.attest_until - timedelta(seconds=ATTEST_SECONDS))
        bases = [self._base("oracle", oracle, epoch)]
        self.load(SlashCase).prove(
            oracle,
            first.source,
            epoch,
            evidence_of(first),
            bases,
            self.asked.now,
            proof=(command.first, command.second),
            terms=self._terms_of(epoch),
        )

    def _prove_refutation(self, command: ProveRefutation) -> None:
        said = self._said(command.answer, NotRefuted)
        epoch, device = said.data.get("epoch"), self.asked.stream_id.rpartition(".proof.")[0]
        bond = self._collateral("bond", device)
        if type(epoch) is not int or not is_refuted(said, command.manifest) or said.source not in bond.keys:
            raise NotRefuted
        bases = [self._base("bond", device, epoch)]
        if bond.wallet is not None:
            bases.append(self._base("stake", bond.wallet, epoch))
        self.load(SlashCase).prove(
            device, said.source, epoch, evidence_of(said), bases, self.asked.now,
            proof=(command.answer,), manifest=command.manifest, terms=self._terms_of(epoch),
        )  # fmt: skip

    @property
    def _terms(self) -> StakingParameters:
        return self.policy.parameters(StakingParameters)

    def _terms_of(self, epoch: int) -> StakingParameters:
        """What was in force when an epoch began: by that an offence in it is judged, whatever has been adopted since."""
        return self.policy.parameters_at(StakingParameters, starts(epoch))

    def _said(self, signed: SignedCommand, refusal: type[Refused]) -> Said:
        """The command in the evidence, if its signature is its source's. Raises the refusal."""
        try:
            value = signed.value.encode()
            # The key of its message is no part of what was signed: it is the subject or the record is not one.
            record = parse_command(value, _subject_of(value), [("signature", signed.signature.encode())])
        except BadRecord as error:
            raise refusal(str(error)) from None
        if record.network != self.asked.record.network or not self.verify(record.source, record.value, record.signature):
            raise refusal("it is not signed by its source for this network")
        return Said(record.source, record.type, record.subject, record.network, record.data)

    def _base(self, kind: Kind, subject: str, epoch: int) -> Base:
        return Base(
            kind=kind, subject=SubjectName(subject), units=self._collateral(kind, subject).holding.at_start_of(epoch)
        )  # fmt: skip

    def _collateral(self, kind: str, subject: str) -> Collateral:
        return self.read(Collateral, collateral_stream(kind, subject))

    def _read_case(self, case: str) -> SlashCase:
        return self.read(SlashCase, case_stream(case))

    def _require_executed(self, case: str) -> None:
        if self._read_case(case).outcome != "executed":
            raise NotExecuted(field="case")

    def _is_claimed(self, bond: Collateral) -> bool:
        if bond.asked is None:
            return False
        streams = (serial_stream(bond.asked.serial_hash), key_claim_stream(bond.asked.device_key))
        return all(self.read(Claim, stream).device == bond.subject for stream in streams)


def _subject_of(value: bytes) -> bytes:
    try:
        subject = parse_strictly(value).get("subject")
    except BadDocument:
        return b""
    return subject.encode() if isinstance(subject, str) else b""
