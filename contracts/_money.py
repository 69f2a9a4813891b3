"""Assets, amounts, and the legs by which an event moves value (double entry).

An asset is money in one place: the same dollar is `USD.bank` at a bank (2 decimals), `USD` on the native chain (4) and
`USD.s` on the EVM (18). From fewer decimals to more is exact; the other way round dust is refused, never cut off.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator

from contracts._language import Value
from contracts._values import AtomicText, Money

DECIMALS = {
    "SPACE": 4, "SPACE.evm": 18,
    "USD": 4, "EUR": 4, "GBP": 4, "USD.s": 18, "EUR.s": 18, "GBP.s": 18, "USD.bank": 2, "EUR.bank": 2, "GBP.bank": 2,
    "USDT": 4, "USDC": 4, "USDT.s": 6, "USDC.s": 6,
}  # fmt: skip
"""Decimals of each asset (white paper 8.2, 9.2). A bridged token on its home chain is named by that chain: `USDT.ethereum`."""

_BRIDGED = re.compile(r"(USDT|USDC)\.[a-z]+")


class Dust(ValueError):
    """Part of the amount is too small for the other asset's decimals."""


class OtherMoney(ValueError):
    """The assets are not forms of the same money."""


def decimals_of(asset: str) -> int:
    """How many decimals the asset's units have. Raises LookupError."""
    found = DECIMALS.get(asset, 6 if _BRIDGED.fullmatch(asset) else None)
    if found is None:
        raise LookupError(f"{asset!r} is no asset of this network")
    return found


def _known(asset: str) -> str:
    try:
        decimals_of(asset)
    except LookupError as error:
        raise ValueError(str(error)) from None
    return asset


class AssetName(AtomicText):
    """A name as assets have it: `USD.s`."""

    pattern = r"^[A-Z]{3,8}(\.[a-z]{1,20})?$"
    max_length = 30


Asset = Annotated[AssetName, AfterValidator(_known)]
"""One of the assets that the network knows."""


class Amount(Value):
    """So many minor units of an asset."""

    asset: Asset
    units: Money

    @classmethod
    def of(cls, asset: str, units: int) -> Self:
        return cls(asset=AssetName(asset), units=units)

    def to(self, asset: str) -> Self:
        """The same money in another place: `USD.bank` to `USD.s` times 10^16. Raises OtherMoney, Dust."""
        if self.asset.partition(".")[0] != asset.partition(".")[0]:
            raise OtherMoney(f"{self.asset} does not become {asset}")
        shift = decimals_of(asset) - decimals_of(self.asset)
        if shift >= 0:
            return self.of(asset, self.units * 10**shift)
        units, dust = divmod(self.units, 10**-shift)
        if dust:
            raise Dust(f"{dust} units of {self.asset} are less than one unit of {asset}")
        return self.of(asset, units)

    def __str__(self) -> str:
        return f"{written(self.units, self.asset)} {self.asset}"


def written(units: int, asset: str) -> str:
    """For people: `1,234.50`. Trailing zeros beyond two decimals are left out."""
    places = decimals_of(asset)
    whole, part = divmod(abs(units), 10**places)
    digits = f"{part:0{places}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if units < 0 else ''}{whole:,}.{digits}"


@dataclass(frozen=True, slots=True)
class Leg:
    """One line of a posting: an account gains (positive) or gives up (negative) units of an asset."""

    account: str
    """`class:name`, `due:payouts`, or `class:kind:name`, `stake:bond:did:key:…`."""
    asset: str
    units: int


def move(source: str, target: str, asset: str, units: int) -> tuple[Leg, Leg]:
    """The two legs of units that go from one account to another."""
    return Leg(target, asset, units), Leg(source, asset, -units)


def sums(legs: Iterable[Leg]) -> dict[str, int]:
    """Per asset what the legs add up to; of a posting each is zero."""
    found: dict[str, Any] = {}
    for leg in legs:
        found[leg.asset] = found.get(leg.asset, 0) + leg.units
    return found
