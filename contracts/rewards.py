"""Rewards: fees divided, emission under a cap, yield from a funded pool, grants, claims under one root (white paper 9).

Amounts without an asset are SPACE units (4 decimals). An epoch is a UTC day, numbered from 1970-01-01 as liveness numbers
them; a year has 31,536,000 seconds whatever the calendar says, and begins with the token generation event.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from contracts._language import Command, Event, Value
from contracts._money import Amount, Leg, move
from contracts._policy import Parameters, PolicyVersion
from contracts._values import Address, AtomicText, Count, Did, Digest, Flag, Money, StreamId, StreamName, Timestamp
from contracts.providers import ModelId, Tier


class Payee(AtomicText):
    """An EVM address in lower case: one wallet has one stream, however its owner writes it."""

    pattern = r"^0x[0-9a-f]{40}$"
    max_length = 42


class Recipient(AtomicText):
    """An account of the native chain, `spaceos.vest`, or an EVM address in lower case."""

    pattern = r"^([a-z1-5][a-z1-5.]{0,11}|0x[0-9a-f]{40})$"
    max_length = 42


class GrantId(AtomicText):
    """A grant, `team-2026`."""

    pattern = r"^[a-z0-9][a-z0-9._-]*$"
    max_length = 60


class Reference(AtomicText):
    """What a movement is for, named by whoever asks: a receipt, a tranche, an epoch's burn."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/+@-]*$"
    max_length = 150


class ChainHash(AtomicText):
    """A transaction's hash or a Merkle root: 32 bytes, `0x` and lower-case hexadecimal digits."""

    pattern = r"^0x[0-9a-f]{64}$"
    max_length = 66


class Words(AtomicText):
    """Printable ASCII that people wrote."""

    pattern = r"^[\x20-\x7e]+$"
    max_length = 250


FeeKind = Literal["inference", "storage"]
FeeSource = Literal["vault", "bundle"]
Bucket = Literal["providers", "developers", "treasury", "team", "liquidity"]
GrantKind = Literal["linear", "cliff", "milestone", "immediate"]
EarnedFrom = Literal["fee", "model", "oracle", "stake"]
BurnSource = Literal["fees", "buyback", "slash"]
Percent = Annotated[Count, Field(le=100)]
ProtocolFee = Annotated[Count, Field(le=300)]
"""Basis points of a price."""

SPACE = "SPACE"
CAP_UNITS = 10**13
"""1,000,000,000 SPACE (white paper 9.2). What was burned does not reopen it."""
BUCKET_UNITS: dict[Bucket, int] = {
    "providers": 4 * 10**12, "developers": 2 * 10**12, "treasury": 2 * 10**12, "team": 10**12, "liquidity": 10**12,
}  # fmt: skip
"""Shares of the cap (white paper 9.3)."""
GENESIS_ACCOUNT = Recipient("eosio")
"""Holds the initial issue of 100M, which is the liquidity bucket (white paper 6.1, 9.2)."""
EMISSION_BP = 200
"""2 % a year of what is issued and not burned (white paper 9.2)."""
USAGE_REWARD_UNITS = 10
"""0.001 SPACE an inference served (white paper 9.4)."""
MULTIPLIERS: dict[Tier, int] = {"free": 100, "basic": 125, "pro": 150, "enterprise": 200}
"""Hundredths (white paper 5.4)."""
SLA_MISSED_PERCENT = 1
"""More missed slots than this, and the tier's multiplier is not paid."""
EPOCH_SECONDS = 86_400
CLOSE_DELAY_SECONDS = 600
YEAR_SECONDS = 31_536_000
TRANCHE_SECONDS = 2_628_000
"""A thirty-sixth of three years."""
LINE_SECONDS = 3 * YEAR_SECONDS
"""Over which the providers' bucket opens (white paper 9.3)."""
MODEL_ESCROW_SECONDS = 7_776_000
"""90 days after its epoch a fee without a model owner is the treasury's."""
MAX_MILESTONES = 64
MAX_ORACLES = 256
MAX_ASSETS = 16

EMISSION = StreamName("rewards/emission/SPACE")


def fee_stream(kind: str, payee: str, asset: str) -> StreamName:
    return StreamName(f"rewards/fees/{kind}.{payee}.{asset}")


def earner_stream(payee: str, asset: str) -> StreamName:
    return StreamName(f"rewards/earner/{payee}.{asset}")


def epoch_stream(epoch: int) -> StreamName:
    return StreamName(f"rewards/epoch/{epoch}")


def grant_stream(grant: str) -> StreamName:
    return StreamName(f"rewards/grant/{grant}")


def position_stream(stake: str) -> StreamName:
    return StreamName(f"rewards/position/{stake}")


def model_stream(model: str) -> StreamName:
    return StreamName(f"rewards/model/{model}")


def payee_of(address: Address) -> Payee:
    """The wallet, as payees are written."""
    return Payee(address.lower())


class Split(Value):
    """Per cent of a price; the four add up to 100."""

    provider: Percent
    model: Percent
    oracles: Percent
    treasury: Percent


class RewardsParameters(Parameters):
    """How what is paid is divided, and what stake yields."""

    steps: ClassVar = {"split_percent": 10, "storage_split_percent": 10}

    split_percent: Split = Split(provider=60, model=20, oracles=10, treasury=10)
    """Per cent of a price of inference; together 100 (white paper 9.5)."""
    storage_split_percent: Split = Split(provider=80, model=0, oracles=10, treasury=10)
    """Per cent of a price of storage; together 100. It has no model owner: the disk bears that share."""
    protocol_fee_bp: ProtocolFee = 100
    """Basis points on top of the price, rounded up; all of it is the treasury's (white paper 9.7)."""
    burn_percent: Annotated[Count, Field(le=50)] = 20
    """Per cent of every receipt of the treasury (white paper 9.2, 9.5)."""
    base_apr_bp: Annotated[Count, Field(le=2_000)] = 500
    """Basis points a year on stake (white paper 9.4)."""
    oracle_apr_bp: Annotated[Count, Field(le=2_000)] = 500
    """Basis points a year on an oracle's stake (white paper 14)."""

    @model_validator(mode="after")
    def _divide_all_of_it(self) -> Self:
        for split in (self.split_percent, self.storage_split_percent):
            if sum(shares(split)) != 100:
                raise ValueError(f"the shares sum to {sum(shares(split))}, not to 100")
        if self.storage_split_percent.model:
            raise ValueError("storage has no model, whose share would be nobody's")
        return self


def shares(split: Split) -> tuple[int, int, int, int]:
    return split.provider, split.model, split.oracles, split.treasury


REWARDS = RewardsParameters()
"""The white paper's, in force until something is adopted."""


class Left(Value):
    """What a fee stream carries over: hundredths of a unit of each class, and of the burn."""

    provider: Percent = 0
    model: Percent = 0
    oracles: Percent = 0
    treasury: Percent = 0
    burn: Percent = 0


class OracleReports(Value):
    """How many of an oracle's reports were accepted in an epoch."""

    oracle: Payee
    accepted: Count


class OracleShare(Value):
    oracle: Payee
    amount: Amount


# Fees


class EarnerId(AtomicText):
    """Who is paid and in what, `<payee>.<asset>`, as his stream is named."""

    pattern = r"^0x[0-9a-f]{40}\.[A-Z]{3,8}(\.[a-z]{1,20})?$"
    max_length = 72


class FeesId(AtomicText):
    """What for, who is paid and in what, `<kind>.<payee>.<asset>`, as the stream of fees is named."""

    pattern = r"^[a-z]{1,20}\.0x[0-9a-f]{40}\.[A-Z]{3,8}(\.[a-z]{1,20})?$"
    max_length = 93


class EpochId(AtomicText):
    """An epoch's number, as its stream is named."""

    pattern = r"^(0|[1-9][0-9]{0,15})$"
    max_length = 16


STREAM_IDS: Mapping[str, type[AtomicText]] = {
    "earner": EarnerId, "emission": StreamId, "epoch": EpochId, "fees": FeesId, "grant": GrantId, "model": ModelId,
    "position": StreamId,
}  # fmt: skip
"""What the streams of each kind are named by."""


class SplitFee(Command, role="rewards.settler", stream="rewards/fees"):
    """Divide the price of a settled receipt (white paper 9.5), with the protocol fee that was paid on top (9.7)."""

    kind: FeeKind
    receipt: Reference
    price: Amount
    protocol_fee: Money
    """Of the price's asset; 0 where a bundle has paid it."""
    payee: Payee
    provider: Did
    model: ModelId | None = None
    model_owner: Payee | None = None
    prepaid: Flag
    epoch: Count


class TakeFee(Command, role="rewards.settler", stream="rewards/fees"):
    """A receipt of the treasury that is divided with nobody: the vault's fee, or the fee inside a bundle."""

    amount: Amount
    source: FeeSource
    reference: Reference
    epoch: Count


class FeeSplit(Event):
    kind: FeeKind
    receipt: Reference
    price: Amount
    protocol_fee: Money
    payee: Payee
    provider: Did
    model: ModelId | None = None
    model_owner: Payee | None = None
    """As the command names it, else as it is registered; absent, the share is in escrow."""
    prepaid: Flag
    epoch: Count
    split: Split
    """In force when it was decided."""
    provider_share: Money
    model_share: Money
    oracle_share: Money
    treasury_share: Money
    """Without the protocol fee."""
    burn: Money
    buyback: Money
    """Instead of the burn where the fee is not SPACE: a stablecoin that is burned strands its reserve."""
    kept: Money
    rounding: Annotated[Count, Field(le=3)]
    """Units that `fees:rounding` holds for the stream after this."""
    left: Left
    policy_version: PolicyVersion = None

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        asset, paid = self.price.asset, self.price.units + self.protocol_fee
        parts = {
            "payable:provider": self.provider_share, self._models_account(): self.model_share,
            "payable:oracles": self.oracle_share, "treasury:burn": self.burn, "treasury:buyback": self.buyback,
            "treasury:dao": self.kept,
        }  # fmt: skip
        parts["fees:rounding"] = paid - sum(parts.values())
        yield Leg("fees:clearing", asset, -paid)
        yield from (Leg(account, asset, units) for account, units in parts.items() if units)

    def _models_account(self) -> str:
        return "payable:model" if self.model_owner or not self.model else escrow_account(self.model)


class FeeTaken(Event):
    amount: Amount
    source: FeeSource
    reference: Reference
    epoch: Count
    burn: Money
    buyback: Money
    kept: Money
    left: Left
    policy_version: PolicyVersion = None

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        asset = self.amount.asset
        parts = {"treasury:burn": self.burn, "treasury:buyback": self.buyback, "treasury:dao": self.kept}
        yield Leg("fees:clearing", asset, -self.amount.units)
        yield from (Leg(account, asset, units) for account, units in parts.items() if units)


def escrow_account(model: str) -> str:
    """Where the share of a model without an owner waits."""
    return f"escrow:model:{model}"


# Emission


class DeclareGenesis(Command, role="rewards.governor", stream="rewards/emission"):
    """The token generation event: schedules count from it, and the liquidity bucket is issued (white paper 9.2, 9.3)."""

    at: Timestamp


class OpenYear(Command, role="rewards.process", stream="rewards/emission"):
    """Fix the base of an emission year, 1 being the first."""

    year: Annotated[Count, Field(ge=1)]


class MintEpoch(Command, role="rewards.process", stream="rewards/emission"):
    """Mint what has accrued until then into the rewards pool; what earlier epochs missed is in it."""

    epoch: Count
    until: Timestamp


class AllotGrant(Command, role="rewards.governor", stream="rewards/emission", halted_by="rewards"):
    """Set part of a bucket aside for a grant."""

    grant: GrantId
    bucket: Bucket
    amount: Money


class ReturnGrant(Command, role=("rewards.governor", "rewards.process"), stream="rewards/emission"):
    """What a revoked grant did not release is its bucket's again."""

    grant: GrantId
    amount: Money


class Issue(Command, role="rewards.process", stream="rewards/emission"):
    """Mint what a grant has released."""

    grant: GrantId
    bucket: Bucket
    amount: Money
    to: Recipient
    reference: Reference


class RecordBurn(Command, role="rewards.process", stream="rewards/emission"):
    """SPACE was retired. It is counted apart: what was issued stays issued."""

    amount: Money
    source: BurnSource
    reference: Reference


class GenesisDeclared(Event):
    at: Timestamp


class EmissionYearOpened(Event):
    year: Count
    base: Money
    """Issued less burned at the opening."""


class EpochMinted(Event):
    epoch: Count
    until: Timestamp
    amount: Money
    issued_total: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return _moved("issued", "pool:rewards", SPACE, self.amount)


class GrantAllotted(Event):
    grant: GrantId
    bucket: Bucket
    amount: Money


class GrantReturned(Event):
    grant: GrantId
    amount: Money


class Issued(Event):
    grant: GrantId | None = None
    """Absent at genesis."""
    bucket: Bucket
    amount: Money
    to: Recipient
    reference: Reference
    issued_total: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return _moved("issued", f"holders:native:{self.to}", SPACE, self.amount)


class SupplyBurned(Event):
    amount: Money
    source: BurnSource
    reference: Reference
    burned_total: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return _moved("treasury:burn", "burned", SPACE, self.amount)


# Grants


class CreateGrant(Command, role="rewards.governor", stream="rewards/grant", halted_by="rewards"):
    """Promise part of a bucket to somebody, by a schedule (white paper 9.3).

    `linear` releases a tranche every 2,628,000 s of `duration_seconds`, none before `cliff_seconds`; `cliff` all at once
    then; `milestone` the amounts of those that were reached; `immediate` all at the start.
    """

    bucket: Bucket
    beneficiary: Recipient
    total: Money
    kind: GrantKind
    start: Timestamp
    duration_seconds: Count = 0
    cliff_seconds: Count = 0
    milestones: Annotated[tuple[Money, ...], Field(max_length=MAX_MILESTONES)] = ()
    """SPACE units of each; number 1 is the first."""


class ReachMilestone(Command, role="rewards.registrar", stream="rewards/grant"):
    """A milestone is reached when two persons have said so of the same evidence."""

    number: Annotated[Count, Field(ge=1)]
    evidence: Digest


class Release(Command, role="rewards.process", stream="rewards/grant", halted_by="rewards"):
    """Release what the schedule gives by now."""


class RevokeGrant(Command, role="rewards.governor", stream="rewards/grant"):
    """Nothing more is released."""

    reason: Words


class GrantCreated(Event):
    bucket: Bucket
    beneficiary: Recipient
    total: Money
    kind: GrantKind
    start: Timestamp
    duration_seconds: Count = 0
    cliff_seconds: Count = 0
    milestones: tuple[Money, ...] = ()


class MilestoneAttested(Event):
    """The word of one person; the second makes it reached."""

    number: Count
    evidence: Digest
    person: Did


class MilestoneReached(Event):
    number: Count
    evidence: Digest


class Released(Event):
    """Grown releasable; what moves is in `Issued`."""

    amount: Money
    released_total: Money


class GrantRevoked(Event):
    reason: Words
    returned: Money


# Epochs


class OpenEpoch(Command, role="rewards.process", stream="rewards/epoch", halted_by="rewards"):
    """A day begins."""

    start: Timestamp
    until: Timestamp


class CloseEpoch(Command, role="rewards.process", stream="rewards/epoch"):
    """What the pool holds, what all positions are owed of it, and how many they are."""

    pool: Money
    owed: Money
    positions: Count


class DivideOracleShare(Command, role="rewards.process", stream="rewards/epoch"):
    """Divide the oracles' pots, one an asset, by accepted reports (white paper 9.5, 14)."""

    pots: Annotated[tuple[Amount, ...], Field(max_length=MAX_ASSETS)]
    reports: Annotated[tuple[OracleReports, ...], Field(max_length=MAX_ORACLES)]


class PublishRoot(Command, role="rewards.process", stream="rewards/epoch"):
    """Everybody's cumulative earnings up to this epoch as one Merkle root."""

    root: ChainHash
    totals: Annotated[tuple[Amount, ...], Field(max_length=MAX_ASSETS)]
    claims: Count
    """Rows of the table."""
    table_digest: Digest


class ConfirmRoot(Command, role="rewards.relayer", stream="rewards/epoch"):
    """The contract has the root."""

    transaction: ChainHash
    block: Count


class EpochOpened(Event):
    start: Timestamp
    until: Timestamp


class EpochClosed(Event):
    pool: Money
    owed: Money
    positions: Count
    paid_in_full: Flag


class OracleShareDivided(Event):
    pots: tuple[Amount, ...]
    reports: tuple[OracleReports, ...]
    shares: tuple[OracleShare, ...]
    carried: tuple[Amount, ...]
    """Stays in the pots of the next epoch."""


class RootPublished(Event):
    root: ChainHash
    totals: tuple[Amount, ...]
    claims: Count
    table_digest: Digest


class RootConfirmed(Event):
    transaction: ChainHash
    block: Count


# Positions


class Accrue(Command, role="rewards.process", stream="rewards/position"):
    """What a stake and its inferences are owed for an epoch (white paper 5.4, 9.4)."""

    epoch: Count
    stake: Money
    """Active at the epoch's start."""
    base_bp: Annotated[Count, Field(le=10_000)]
    multiplier: Annotated[Count, Field(le=1_000)]
    """Hundredths."""
    seconds: Annotated[Count, Field(le=EPOCH_SECONDS)]
    inferences: Count


class Pay(Command, role="rewards.process", stream="rewards/position"):
    """Pay an epoch's yield from the pool, pro rata where the pool is shorter than what is owed."""

    epoch: Count
    pool: Money
    owed_total: Money


class Accrued(Event):
    epoch: Count
    stake: Money
    base_bp: Count
    multiplier: Count
    seconds: Count
    inferences: Count
    owed: Money


class Paid(Event):
    epoch: Count
    pool: Money
    owed_total: Money
    amount: Money
    lapsed: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        # A position is a wallet's, or an oracle's: `oracle.<wallet>`.
        return _moved("pool:rewards", payee_account(stream.rpartition("/")[2].rpartition(".")[2]), SPACE, self.amount)


# Earners


class Earn(Command, role="rewards.process", stream="rewards/earner"):
    """An epoch's earnings of one kind become claimable."""

    amount: Amount
    source: EarnedFrom
    epoch: Count
    """Under whose root they are claimed."""
    escrow_of: ModelId | None = None
    """Of `model`: what waited for the model's owner."""
    escrow_epoch: Count | None = None


class RecordClaim(Command, role="rewards.relayer", stream="rewards/earner"):
    """The contract paid."""

    amount: Amount
    transaction: ChainHash
    log: Count
    """Its index in the block."""
    block: Count | None = None
    """From which the logs are read on; absent where a person says it."""


class Earned(Event):
    amount: Amount
    source: EarnedFrom
    epoch: Count
    escrow_of: ModelId | None = None
    escrow_epoch: Count | None = None
    cumulative: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        # What a stake earned came out of the pool when it was paid.
        if self.source == "stake":
            return ()
        classes = {"fee": "payable:provider", "model": "payable:model", "oracle": "payable:oracles"}
        source = escrow_account(self.escrow_of) if self.escrow_of else classes[self.source]
        return _moved(source, payee_account(_payee(stream)), self.amount.asset, self.amount.units)


class Claimed(Event):
    amount: Amount
    transaction: ChainHash
    log: Count
    block: Count | None = None
    claimed: Money

    def legs(self, stream: str) -> Iterable[Leg]:
        return _moved(payee_account(_payee(stream)), "holders", self.amount.asset, self.amount.units)


def payee_account(payee: str) -> str:
    """What a payee may claim."""
    return f"payable:payee:{payee}"


def _payee(stream: str) -> str:
    return stream.rpartition("/")[2].partition(".")[0]


# Models


class RegisterOwner(Command, role="rewards.registrar", stream="rewards/model"):
    """Who gets a model's share; two persons say so of the same evidence."""

    owner: Payee
    evidence: Digest


class LapseEscrow(Command, role="rewards.process", stream="rewards/model"):
    """Nobody claimed the share of an epoch for 90 days: it is the treasury's."""

    epoch: Count
    amount: Amount


class OwnerAttested(Event):
    """The word of one person; the second makes it registered."""

    owner: Payee
    evidence: Digest
    person: Did


class OwnerRegistered(Event):
    owner: Payee
    evidence: Digest
    registered_at: Timestamp


class EscrowLapsed(Event):
    epoch: Count
    amount: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        model = stream.rpartition("/")[2]
        return _moved(escrow_account(model), "treasury:dao", self.amount.asset, self.amount.units)


def _moved(source: str, target: str, asset: str, units: int) -> Iterable[Leg]:
    return move(source, target, asset, units) if units else ()


RewardsCommand = (
    SplitFee
    | TakeFee
    | DeclareGenesis
    | OpenYear
    | MintEpoch
    | AllotGrant
    | ReturnGrant
    | Issue
    | RecordBurn
    | CreateGrant
    | ReachMilestone
    | Release
    | RevokeGrant
    | OpenEpoch
    | CloseEpoch
    | DivideOracleShare
    | PublishRoot
    | ConfirmRoot
    | Accrue
    | Pay
    | Earn
    | RecordClaim
    | RegisterOwner
    | LapseEscrow
)
RewardsEvent = (
    FeeSplit
    | FeeTaken
    | GenesisDeclared
    | EmissionYearOpened
    | EpochMinted
    | GrantAllotted
    | GrantReturned
    | Issued
    | SupplyBurned
    | GrantCreated
    | MilestoneAttested
    | MilestoneReached
    | Released
    | GrantRevoked
    | EpochOpened
    | EpochClosed
    | OracleShareDivided
    | RootPublished
    | RootConfirmed
    | Accrued
    | Paid
    | Earned
    | Claimed
    | OwnerAttested
    | OwnerRegistered
    | EscrowLapsed
)
