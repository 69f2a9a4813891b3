"""Staking: what participants put at risk, and how it is taken from those who broke their word (white paper 5.4, 9.1, 9.6, 14).

A collateral is a wallet's stake, a device's bond or an oracle's stake: one stream each. A case accuses one subject of one
offence; witnesses sign what they found, the accused may dispute it, and one command executes it. All amounts are units of
SPACE (4 decimals) but those of SpaceStaking's mirror, which are wei (18 decimals).

A case is judged by the parameters that were in force when the epoch of the offence began, whatever is adopted later.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts._language import Command, Event, Value
from contracts._money import Leg, move
from contracts._policy import Parameters, PolicyVersion
from contracts._values import Address, AtomicText, Count, Did, Digest, EventId, Flag, Label, Money, StreamName, Timestamp, Uuid
from contracts.liveness import SLOTS_PER_EPOCH
from contracts.providers import Tier
from contracts.treasury import HeldRecord, HoldId, LedgerAccount

SPACE = 10**4
"""Units of one SPACE (white paper 9.2)."""
DEVICE_BOND = 100 * SPACE
"""The small bond of each device or storage node (white paper 5.4); below it a device is not routed."""
ORACLE_MINIMUM = 10_000 * SPACE
SLA_PERCENT = 99
"""Uptime that earns the tier's multiplier (white paper 14)."""
EXPECTED_MINIMUM = SLOTS_PER_EPOCH // 2
"""An epoch that left fewer slots breaches nobody."""
UNSTAKE_SECONDS = 7 * 86_400
"""As SpaceStaking's (white paper 7.3)."""
ATTEST_SECONDS = 6 * 3_600
EVIDENCE_SECONDS = 7 * 86_400
"""Later than so long after its epoch, evidence opens nothing: what was unstaked then has left."""
PANEL_SIZE = 7
COUNCIL_NEEDED = 3
"""Of five signers (white paper 12.1)."""
DISPUTE_BOND_MINIMUM = 10 * SPACE
DISPUTE_BOND_PERCENT = 10
"""Of the slash, rounded up; an appeal's is twice the dispute's."""
SPACE_STAKING_APR_BP = 1_250
"""The testnet contract's 12.5 % (white paper 7.3)."""
YEAR_SECONDS = 31_536_000
FAUCET_DRIP = 100 * SPACE
FAUCET_COOLDOWN_SECONDS = 86_400
FAUCET_DAILY_MAXIMUM = 100_000 * SPACE
MAINNET = "mainnet"
"""The network that has no faucet."""

SpaceUnits = Money
"""Units of SPACE, 4 decimals."""
PositiveSpace = Annotated[SpaceUnits, Field(ge=1)]
Kind = Literal["stake", "bond", "oracle"]
KINDS: tuple[Kind, ...] = ("stake", "bond", "oracle")
Offence = Literal["downtime", "proof"]
Verdict = Literal["guilty", "innocent"]


class TierMinimum(Value):
    """Units of active stake from which a wallet has a tier; Free needs none."""

    basic: Annotated[Count, Field(ge=100 * SPACE, le=10_000 * SPACE)]
    pro: Annotated[Count, Field(ge=1_000 * SPACE, le=100_000 * SPACE)]
    enterprise: Annotated[Count, Field(ge=10_000 * SPACE, le=1_000_000 * SPACE)]


Percentage = Annotated[Count, Field(ge=1, le=100)]
Window = Annotated[Count, Field(ge=3_600, le=7 * 86_400)]


class StakingParameters(Parameters):
    """When a word is broken, what that costs, and what a stake is worth."""

    downtime_threshold_percent: Annotated[Count, Field(ge=2, le=20)] = 5
    """Per cent: missing more of the slots that an epoch left is a breach (white paper 9.6)."""
    downtime_slash_percent: Annotated[Count, Field(ge=1, le=20)] = 10
    """Per cent of what a device's bond had when the epoch began (white paper 9.6)."""
    bad_proof_slash_percent: Annotated[Count, Field(ge=10, le=100)] = 50
    """Per cent of what its signer had at stake when the epoch began (white paper 9.6, 14)."""
    tier_minimum: TierMinimum = TierMinimum(basic=1_000 * SPACE, pro=10_000 * SPACE, enterprise=100_000 * SPACE)
    """Units of SPACE of a wallet's active stake (white paper 5.4, App. A)."""
    dispute_seconds: Window = 86_400
    """From the attestation of a case (white paper 14)."""
    appeal_seconds: Window = 86_400
    """From the end of the vote."""
    appeal_answer_seconds: Window = 3 * 86_400
    """From the appeal; silence upholds."""

    @model_validator(mode="after")
    def _rise(self) -> Self:
        least = self.tier_minimum
        if not least.basic < least.pro < least.enterprise:
            raise ValueError("each tier needs more than the one below it")
        return self


STAKING = StakingParameters()
"""The white paper's, in force until something is adopted."""


class SubjectName(AtomicText):
    """Whose collateral: a wallet in lower case, a device, an oracle's DID."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:+@-]*$"
    max_length = 90


class CaseId(AtomicText):
    """`<subject>.<offence>.<epoch, or 32 digits of the evidence>`: the case is in the stream `staking/case/<id>`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:+@-]*\.(downtime|proof)\.([0-9]{1,7}|[0-9a-f]{32})$"
    max_length = 120


class JsonText(AtomicText):
    """A JSON object byte for byte, all of it printable ASCII."""

    pattern = r"^\{[\x20-\x7e]+\}$"
    max_length = 16_000


class SignatureText(AtomicText):
    """A record's signature, `ed25519:…` or `eip191:0x…`."""

    pattern = r"^(ed25519:[A-Za-z0-9_-]{86}|eip191:0x[0-9a-f]{130})$"
    max_length = 139


class SignedCommand(Value):
    """A command that somebody signed: evidence against the signer wherever it is found."""

    value: JsonText
    signature: SignatureText


class Finding(Value):
    """What a witness found: of a downtime the slots missed, of a bad proof the verdict; and the root of what it looked at."""

    missed: Count | None = None
    verdict: Verdict | None = None
    root: Digest


class Uptime(Value):
    """What a closed epoch says of a device."""

    expected: Count
    """Slots that count: without those that were excused."""
    excused: Count
    missed: Count
    root: Digest


class Base(Value):
    """A collateral and what was at risk in it when the epoch of the offence began."""

    kind: Kind
    subject: SubjectName
    units: SpaceUnits


class Share(Value):
    """What a case takes from a collateral at most."""

    kind: Kind
    subject: SubjectName
    units: PositiveSpace


class PartOfRequest(Value):
    """What is held of an amount that is being unstaked."""

    request: Uuid
    units: PositiveSpace


class PostedBond(Value):
    """A bond for a dispute or an appeal: the treasury's account, the hold within it, and how much."""

    hold: HoldId
    account: StreamName
    units: PositiveSpace


Bases = Annotated[tuple[Base, ...], Field(min_length=1, max_length=4)]
Panel = Annotated[tuple[SubjectName, ...], Field(max_length=PANEL_SIZE)]


class CollateralId(AtomicText):
    """`<kind>/<subject>`, as a collateral's stream is named."""

    pattern = r"^[a-z]{1,20}/[A-Za-z0-9][A-Za-z0-9._:+@-]{0,89}$"
    max_length = 111


class DayId(AtomicText):
    """A day's number, as its stream is named."""

    pattern = r"^(0|[1-9][0-9]{0,15})$"
    max_length = 16


STREAM_IDS: Mapping[str, type[AtomicText]] = {
    "case": CaseId, "collateral": CollateralId, "collateral/bond": SubjectName, "collateral/stake": SubjectName,
    "faucet": Address, "faucetday": DayId, "serial": Digest, "space": Address,
}  # fmt: skip
"""What the streams of each kind are named by."""


class Stake(Command, version=2, role="staking.process", stream="staking/collateral", halted_by="staking"):
    """Put at risk what an account holds for it. The holder asks for it by the hold's purpose, `stake:<stream>`."""

    held: HeldRecord
    """Says the account, the hold and how much."""


class RequestUnstake(Command, role=("staking.holder", "staking.process"), stream="staking/collateral"):
    """Take it out in seven days; until then it can be slashed. The request is named by the command's id."""

    amount: PositiveSpace


class CancelUnstake(Command, role="staking.holder", stream="staking/collateral"):
    """Leave it at risk after all."""

    request: Uuid


class Withdraw(Command, role="staking.holder", stream="staking/collateral"):
    """Take out what was requested seven days ago; what a case holds stays."""

    request: Uuid
    account: StreamName
    """The treasury's account that gets it: the holder says which, not whoever paid in last."""


class HoldForCase(Command, role="staking.process", stream="staking/collateral"):
    """Set aside what an attested case may take."""

    case: CaseId
    amount: PositiveSpace


class ReleaseHold(Command, role="staking.process", stream="staking/collateral"):
    """The case came to nothing."""

    case: CaseId


class ReviewTier(Command, role="staking.process", stream="staking/collateral/stake"):
    """What a tier needs has changed: from the next epoch the wallet has the one that its stake reaches."""


class Slash(Command, role="staking.process", stream="staking/collateral"):
    """The case was executed: burn what it holds."""

    case: CaseId


class Tombstone(Command, role="staking.process", stream="staking/collateral"):
    """A key that lied is not a key."""

    case: CaseId
    key: Did


class RegisterDevice(Command, role="staking.holder", stream="staking/collateral/bond", halted_by="staking"):
    """Ask that the bond's device may serve."""

    device_key: Did
    wallet: Address
    serial_hash: Digest


class DeregisterDevice(Command, role="staking.holder", stream="staking/collateral/bond"):
    """It serves no longer; its bond is unstaked."""


class AdmitDevice(Command, role="staking.process", stream="staking/collateral/bond"):
    """Its serial number and its key are its own."""


class DeclineDevice(Command, role="staking.process", stream="staking/collateral/bond"):
    """They are another's."""

    cause: Label


class SuspendDevice(Command, role="staking.process", stream="staking/collateral/bond"):
    """It was slashed: nothing is expected of it until its owner resumes it."""

    cause: CaseId


class ResumeDevice(Command, role="staking.holder", stream="staking/collateral/bond"):
    """It serves again, and counts from its next full epoch."""


class ClaimSerial(Command, role="staking.process", stream="staking/serial"):
    """Bind a GPU's serial number or a device's key, by its hash, to one bond."""

    device: SubjectName


class FreeSerial(Command, role="staking.process", stream="staking/serial"):
    """Its device is deregistered, and no case follows it."""


class OpenCase(Command, role="staking.process", stream="staking/case"):
    """Accuse, with evidence that a panel of oracles looks at (white paper 9.6)."""

    subject: SubjectName
    offence: Offence
    epoch: Count
    """Days since 1970-01-01 UTC."""
    evidence: Digest
    """SHA-256 of the record that accuses."""
    uptime: Uptime | None = None
    """Of a downtime, as liveness closed the epoch."""
    key: Did | None = None
    """Of a bad proof, the key that signed it."""
    bases: Bases
    percent: Percentage
    panel: Panel
    seed: Digest
    policy_version: Count


class Attest(Command, role="staking.oracle", stream="staking/case"):
    """A witness signs what it found."""

    missed: Count | None = None
    verdict: Verdict | None = None
    root: Digest


class ProveEquivocation(Command, role=("staking.member", "staking.process"), stream="staking/case"):
    """Two findings of one oracle on one question that differ prove a bad proof by themselves."""

    first: SignedCommand
    second: SignedCommand


class ProveRefutation(Command, role="staking.process", stream="staking/case"):
    """A signed storage answer that does not reach its manifest's root proves a bad proof by itself."""

    answer: SignedCommand
    manifest: JsonText


class PostBond(Command, role="staking.process", stream="staking/case"):
    """An account holds a bond for a dispute or an appeal: its hold's purpose is `bond:<stream>`."""

    hold: HoldId
    account: StreamName
    amount: PositiveSpace


class Dispute(Command, role="staking.holder", stream="staking/case"):
    """Put the case to the vote (white paper 14), with a bond that was posted."""

    hold: HoldId
    statement: Digest


class Appeal(Command, role="staking.holder", stream="staking/case"):
    """Ask the council for a second look, with twice the bond."""

    hold: HoldId
    statement: Digest


class ResolveDispute(Command, role="staking.process", stream="staking/case"):
    """What the vote decided. `upheld` is the case; without a quorum it is void."""

    proposal: Uuid
    upheld: Flag
    quorum_met: Flag


class ResolveAppeal(Command, role="staking.council", stream="staking/case"):
    """A council member's answer; three void the case, silence upholds it."""

    verdict: Literal["void", "uphold"]


class ExecuteCase(Command, role="staking.process", stream="staking/case"):
    """The window passed, or the dispute was decided: slash."""


class LapseCase(Command, role="staking.process", stream="staking/case"):
    """Too few witnesses agreed in time."""


class Observe(Command, role="staking.relayer", stream="staking/space"):
    """A log of the contract SpaceStaking on the testnet, which decides by itself (white paper 7.3)."""

    kind: Literal["stake", "unstake", "withdraw", "reward", "fund"]
    """`fund`: the address paid into the pool from which rewards are paid."""
    amount: Money
    """wei."""
    log: Label
    """Transaction and index of the log, `0x…:3`."""


class Drip(Command, role="staking.holder", stream="staking/faucet"):
    """A hundred SPACE for a developer, once a day, on a testnet (white paper 7.3)."""


class CountDrip(Command, role="staking.process", stream="staking/faucetday"):
    """Take a drip from its day's allowance."""

    drip: EventId
    amount: PositiveSpace


class Staked(Event, retention="financial"):
    amount: SpaceUnits
    hold: HoldId
    account: StreamName
    active: SpaceUnits
    epoch: Count
    cause: EventId | None = None
    """The `treasury.Held`; what was staked before it had to be carried names none."""

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(clearing_account(stream), collateral_account(stream), "SPACE", self.amount)


class TierChanged(Event):
    """From the beginning of an epoch: the tier is that of the active stake at its start."""

    tier: Tier
    from_epoch: Count
    policy_version: PolicyVersion = None


class UnstakeRequested(Event):
    amount: SpaceUnits
    request: Uuid
    releasable_at: Timestamp
    epoch: Count


class UnstakeCancelled(Event):
    request: Uuid
    amount: SpaceUnits
    epoch: Count


class Withdrawn(Event, retention="financial"):
    """The treasury credits the account from what is due."""

    request: Uuid
    amount: SpaceUnits
    account: StreamName
    epoch: Count

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(collateral_account(stream), due_account(stream), "SPACE", self.amount)


class HeldForCase(Event):
    case: CaseId
    from_active: SpaceUnits
    from_unbonding: tuple[PartOfRequest, ...]


class HoldReleased(Event):
    case: CaseId


class Slashed(Event, retention="financial"):
    case: CaseId
    amount: SpaceUnits
    left: SpaceUnits
    epoch: Count

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(collateral_account(stream), "treasury:burn", "SPACE", self.amount)


class KeyTombstoned(Event):
    case: CaseId
    key: Did


class RegistrationAsked(Event):
    device_key: Did
    wallet: Address
    serial_hash: Digest


class DeviceRegistered(Event):
    device_key: Did
    wallet: Address
    serial_hash: Digest
    first_epoch: Count


class RegistrationDeclined(Event):
    cause: Label


class DeviceDeregistered(Event):
    device_key: Did
    serial_hash: Digest


class DeviceSuspended(Event):
    cause: CaseId


class DeviceResumed(Event):
    first_epoch: Count


class SerialClaimed(Event):
    device: SubjectName


class SerialFreed(Event):
    device: SubjectName


class CaseOpened(Event, retention="financial"):
    subject: SubjectName
    offence: Offence
    epoch: Count
    evidence: Digest
    uptime: Uptime | None = None
    key: Did | None = None
    bases: Bases
    percent: Count
    panel: Panel
    seed: Digest | None = None
    policy_version: Count
    needed: Count
    """Equal signatures that attest it; 0 where the evidence does so by itself."""
    attest_until: Timestamp
    threshold_percent: Percentage | None = None
    """Of a downtime: missing more than this is a breach; absent, where it is the white paper's five."""


class Attested(Event):
    missed: Count | None = None
    verdict: Verdict | None = None
    root: Digest
    oracle: SubjectName
    key: Did
    """With which it signed."""


class CaseAttested(Event, retention="financial"):
    """By enough equal findings, or by evidence that proves itself, which it then carries."""

    finding: Finding | None = None
    proof: tuple[SignedCommand, ...] = ()
    manifest: JsonText | None = None
    amounts: tuple[Share, ...]
    bond: SpaceUnits
    """What a dispute has to post."""
    dispute_until: Timestamp


class BondPosted(Event, retention="financial"):
    hold: HoldId
    account: StreamName
    amount: SpaceUnits

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(clearing_account(stream), bond_account(stream), "SPACE", self.amount)


class Disputed(Event):
    hold: HoldId
    account: StreamName
    """In which the hold was."""
    statement: Digest
    proposal: Uuid


class Appealed(Event):
    hold: HoldId
    account: StreamName
    statement: Digest
    answer_until: Timestamp


class DisputeResolved(Event):
    proposal: Uuid
    upheld: Flag
    quorum_met: Flag
    appeal_until: Timestamp


class AppealResolved(Event):
    """One council member's answer."""

    verdict: Literal["void", "uphold"]
    actor: Did
    person: Did


class CaseVoided(Event, retention="financial"):
    cause: Literal["not_breached", "innocent", "dispute_won", "no_quorum", "appeal_won"]
    returned: tuple[PostedBond, ...] = ()

    def legs(self, stream: str) -> Iterable[Leg]:
        return tuple(_returned(self.returned, stream))


class CaseExecuted(Event, retention="financial"):
    """The bonds of a lost dispute and a lost appeal are burned, those that were not used return."""

    amounts: tuple[Share, ...]
    burned: tuple[PostedBond, ...] = ()
    returned: tuple[PostedBond, ...] = ()

    def legs(self, stream: str) -> Iterable[Leg]:
        lost = (leg for bond in self.burned for leg in move(bond_account(stream), "treasury:burn", "SPACE", bond.units))
        return (*lost, *_returned(self.returned, stream))


class CaseLapsed(Event):
    pass


class SpaceStakeObserved(Event):
    kind: Literal["stake", "unstake", "withdraw", "reward", "fund"]
    amount: Money
    log: Label


class Dripped(Event, retention="financial"):
    amount: SpaceUnits
    next_at: Timestamp
    day: Count
    """Days since 1970-01-01 UTC."""

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return move("pool:faucet", "holders", "SPACE", self.amount)


class DripCounted(Event):
    drip: EventId
    amount: SpaceUnits


CollateralCommand = (
    Stake | RequestUnstake | CancelUnstake | Withdraw | HoldForCase | ReleaseHold | ReviewTier | Slash | Tombstone
    | RegisterDevice | DeregisterDevice | AdmitDevice | DeclineDevice | SuspendDevice | ResumeDevice
)  # fmt: skip
CaseCommand = (
    OpenCase | Attest | ProveEquivocation | ProveRefutation | PostBond | Dispute | Appeal | ResolveDispute | ResolveAppeal
    | ExecuteCase | LapseCase
)  # fmt: skip
StakingCommand = CollateralCommand | CaseCommand | ClaimSerial | FreeSerial | Observe | Drip | CountDrip
DeviceEvent = (
    RegistrationAsked | DeviceRegistered | RegistrationDeclined | DeviceDeregistered | DeviceSuspended | DeviceResumed
)  # fmt: skip
CollateralEvent = (
    Staked | TierChanged | UnstakeRequested | UnstakeCancelled | Withdrawn | HeldForCase | HoldReleased | Slashed
    | KeyTombstoned | DeviceEvent
)  # fmt: skip
ClaimEvent = SerialClaimed | SerialFreed
CaseEvent = (
    CaseOpened | Attested | CaseAttested | BondPosted | Disputed | Appealed | DisputeResolved | AppealResolved | CaseVoided
    | CaseExecuted | CaseLapsed
)  # fmt: skip
FaucetEvent = Dripped | DripCounted
StakingEvent = CollateralEvent | ClaimEvent | CaseEvent | SpaceStakeObserved | FaucetEvent


def collateral_stream(kind: str, subject: str) -> StreamName:
    """`staking/collateral/<kind>/<subject>`: a command addresses the streams of one kind, and it has three."""
    return StreamName(f"staking/collateral/{kind}/{subject}")


def named_collateral(stream: str) -> tuple[str, str]:
    """Kind and subject of a collateral's stream; two empty texts where it is none."""
    parts = stream.split("/")
    is_one = len(parts) == 4 and parts[:2] == ["staking", "collateral"] and parts[2] in KINDS
    return (parts[2], parts[3]) if is_one else ("", "")


def case_stream(case: str) -> StreamName:
    return StreamName(f"staking/case/{case}")


def case_id(subject: str, offence: Offence, epoch: int, evidence: str) -> CaseId:
    """One downtime case a device and epoch, one case of a bad proof an evidence."""
    return CaseId(f"{subject}.{offence}.{epoch if offence == 'downtime' else evidence[:32]}")


def serial_stream(serial_hash: str) -> StreamName:
    return StreamName(f"staking/serial/{serial_hash}")


def key_claim_stream(device_key: str) -> StreamName:
    """Where a device's key is claimed: as a serial number, by its SHA-256."""
    return StreamName(f"staking/serial/{hashlib.sha256(device_key.encode()).hexdigest()}")


def faucet_day_stream(day: int) -> StreamName:
    return StreamName(f"staking/faucetday/{day}")


def collateral_account(stream: str) -> str:
    """`stake:<kind>:<subject>` in the ledger."""
    kind, subject = named_collateral(stream)
    return f"stake:{kind}:{subject}"


def bond_account(stream: str) -> str:
    """Where a case's bonds are: `stake:dispute:<case>`."""
    return f"stake:dispute:{stream.split('/', 2)[-1]}"


def clearing_account(stream: str) -> LedgerAccount:
    """Into which the treasury captures a hold, and from which it becomes a stake or a bond."""
    return LedgerAccount(f"hold:{_named(stream)}")


def due_account(stream: str) -> LedgerAccount:
    """What left a collateral or a case and is not yet credited by the treasury."""
    return LedgerAccount(f"due:{_named(stream)}")


def _named(stream: str) -> str:
    kind, subject = named_collateral(stream)
    return f"{kind}:{subject}" if kind else f"dispute:{stream.split('/', 2)[-1]}"


def _returned(bonds: Iterable[PostedBond], stream: str) -> Iterator[Leg]:
    for bond in bonds:
        yield from move(bond_account(stream), due_account(stream), "SPACE", bond.units)
