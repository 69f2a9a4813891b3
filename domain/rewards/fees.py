"""Fees: each is divided in whole units, and what a division leaves over is carried to the next: nobody's share drifts."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, assert_never

from contracts import Amount
from contracts.rewards import (
    REWARDS,
    SPACE,
    FeeKind,
    FeeSplit,
    FeeTaken,
    Left,
    Payee,
    RewardsParameters,
    Split,
    SplitFee,
    TakeFee,
    fee_stream,
)
from domain import Aggregate, Refused, Shelf, shelf
from domain.rewards.epochs import epoch_at

FeeEvent = FeeSplit | FeeTaken

KNOWN_EPOCHS = 32
"""Days within which a fee is divided. What is captured late is a break after one day."""


class ReceiptAlreadySplit(Refused):
    """The receipt is divided already, and it said something else."""


class AlreadyTaken(Refused):
    """The fee of that reference is taken already, and it was another one."""


class WrongProtocolFee(Refused):
    """The protocol fee is one per cent, or what was adopted, rounded up; nothing where a bundle paid it (white paper 9.7)."""


class EpochNotOpen(Refused):
    """A fee belongs to a day that has begun, and is divided within 32 days."""


class NotOfThisStream(Refused):
    """A fee stream is named by kind, payee and asset."""


class ModelNotNamed(Refused):
    """An inference has a model, and its share an owner or an escrow."""


def protocol_fee(price: int, basis_points: int = REWARDS.protocol_fee_bp) -> int:
    """On top of the price, rounded up: a price of one unit costs two."""
    return -(-price * basis_points // 10_000)


def fee_inside(bundle: int, basis_points: int = REWARDS.protocol_fee_bp) -> int:
    """The protocol fee that a bundle's price contains: 1.00 of 100.00, for what is left buys 99.00 and its fee."""
    return bundle - bundle * 10_000 // (10_000 + basis_points)


def split_of(kind: FeeKind, terms: RewardsParameters) -> Split:
    return terms.split_percent if kind == "inference" else terms.storage_split_percent


@dataclass(frozen=True, slots=True)
class Said:
    """What a receipt or reference was, so that it is known again."""

    digest: str
    owner: Payee | None = None


@dataclass
class FeeStream(Aggregate[FeeEvent]):
    """The fees of one kind that one payee earned in one asset."""

    left: Left = field(default_factory=Left)
    newest: int = 0
    """The newest epoch of its fees."""
    said: Shelf[Said] = shelf("receipt", "reference")

    def split(
        self, command: SplitFee, now: datetime, registered: Payee | None = None, terms: RewardsParameters = REWARDS,
        billed_at: Collection[int] = (REWARDS.protocol_fee_bp,),
    ) -> None:  # fmt: skip
        """`registered` is the model's owner, where one is; `billed_at` the protocol fees at which a bill may have been made.

        Raises NotOfThisStream, ReceiptAlreadySplit, EpochNotOpen, WrongProtocolFee, ModelNotNamed.
        """
        self._require_own(command.kind, command.payee, command.price.asset)
        if (done := self.said.get(command.receipt)) is not None:
            if done.digest != _digest(command) or command.model_owner not in (None, done.owner):
                raise ReceiptAlreadySplit(field="receipt")
            return
        self._require_epoch(command.epoch, now)
        price = command.price.units
        if command.protocol_fee not in ((0,) if command.prepaid else [protocol_fee(price, bp) for bp in billed_at]):
            raise WrongProtocolFee(field="protocol_fee")
        if command.kind == "inference" and command.model is None:
            raise ModelNotNamed(field="model")
        self.record(self._divided(command, terms, command.model_owner or registered))

    def take(self, command: TakeFee, now: datetime, terms: RewardsParameters = REWARDS) -> None:
        """Raises NotOfThisStream, AlreadyTaken, EpochNotOpen."""
        asset = command.amount.asset
        if not (self.id.startswith(f"{command.source}.") and self.id.endswith(f".{asset}")):
            raise NotOfThisStream(field="subject")
        if (done := self.said.get(command.reference)) is not None:
            if done.digest != _digest(command):
                raise AlreadyTaken(field="reference")
            return
        self._require_epoch(command.epoch, now)
        burned, rest = divmod(self.left.burn + command.amount.units * terms.burn_percent, 100)
        self.record(
            FeeTaken(
                **dict(command), **_burned(asset, burned), kept=command.amount.units - burned,
                left=self.left.model_copy(update={"burn": rest}), policy_version=terms.policy_version,
            )
        )  # fmt: skip

    def apply(self, event: FeeEvent) -> None:
        match event:
            case FeeSplit(receipt=receipt, left=left, epoch=epoch, model_owner=owner):
                self.left = left
                self.newest = max(epoch, self.newest)
                self.said[receipt] = Said(_digest(event), owner)
            case FeeTaken(reference=reference, left=left, epoch=epoch):
                self.left = left
                self.newest = max(epoch, self.newest)
                self.said[reference] = Said(_digest(event))
            case _:
                assert_never(event)

    def _require_epoch(self, epoch: int, now: datetime) -> None:
        if epoch > epoch_at(now) or epoch <= self.newest - KNOWN_EPOCHS:
            raise EpochNotOpen(field="epoch")

    def _divided(self, command: SplitFee, terms: RewardsParameters, owner: Payee | None) -> FeeSplit:
        price, asset, left, split = command.price.units, command.price.asset, self.left, split_of(command.kind, terms)
        provider, r_provider = divmod(left.provider + price * split.provider, 100)
        model, r_model = divmod(left.model + price * split.model, 100)
        oracles, r_oracles = divmod(left.oracles + price * split.oracles, 100)
        treasury, r_treasury = divmod(left.treasury + price * split.treasury, 100)
        receipt = treasury + command.protocol_fee
        burned, r_burn = divmod(left.burn + receipt * terms.burn_percent, 100)
        rest = Left.model_construct(
            provider=r_provider, model=r_model, oracles=r_oracles, treasury=r_treasury, burn=r_burn
        )  # fmt: skip
        return FeeSplit(
            **{**dict(command), "model_owner": owner}, split=split, provider_share=provider, model_share=model,
            oracle_share=oracles, treasury_share=treasury, **_burned(asset, burned), kept=receipt - burned,
            rounding=(r_provider + r_model + r_oracles + r_treasury) // 100, left=rest,
            policy_version=terms.policy_version,
        )  # fmt: skip

    def _require_own(self, kind: str, payee: str, asset: str) -> None:
        if self.stream != fee_stream(kind, payee, asset):
            raise NotOfThisStream(f"the fee belongs to {fee_stream(kind, payee, asset)}", "subject")


def _burned(asset: str, units: int) -> dict[str, Any]:
    # A stablecoin that is burned strands its reserve: the DAO buys SPACE with it.
    return {"burn": units, "buyback": 0} if asset == SPACE else {"burn": 0, "buyback": units}


def _digest(said: SplitFee | FeeSplit | TakeFee | FeeTaken) -> str:
    # The owner is not in it: a repeated command may name none where one was registered.
    match said:
        case SplitFee() | FeeSplit():
            fields: tuple[object, ...] = (
                *_of(said.price), said.protocol_fee, said.provider, said.model, said.prepaid, said.epoch,
            )  # fmt: skip
        case TakeFee() | FeeTaken():
            fields = (*_of(said.amount), said.epoch)
        case _:
            assert_never(said)
    return hashlib.sha256(repr(tuple(map(str, fields))).encode()).hexdigest()[:32]


def _of(amount: Amount) -> tuple[str, int]:
    return amount.asset, amount.units
