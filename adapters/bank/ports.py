"""What a bank and a chain can be asked, and what holds of any of them.

Every question may end in NoAnswer, and then nobody knows whether it was acted on. So whatever moves money has a name: at the
bank a key, on the chain a sender's nonce. The same order under the same name moves it once, however often it is given.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from adapters.bank.entries import Entry
from adapters.bank.observations import Observation
from contracts import Amount


class NoAnswer(Exception):
    """The world did not answer. It may have acted: ask by the order's name, or give the same order again."""


class OrderRefused(Exception):
    """The answer is no, and nothing was done. The same order again is refused again, or done once what was missing is there."""


class KeyReused(OrderRefused):
    """Another order has this key. An edit is no retry."""


class NonceTaken(OrderRefused):
    """Another transaction was mined under the sender's nonce; this one never will be."""

    def __init__(self, by: str) -> None:
        super().__init__(f"the nonce was taken by {by}")
        self.by = by


class Underpriced(OrderRefused):
    """Another transaction waits under the nonce. To replace it, a price is at least a tenth higher."""


# A bank


@dataclass(frozen=True, slots=True)
class Payment:
    """An order of ours, as the bank knows it."""

    key: str
    reference: str
    """The bank's name for it."""
    destination: str
    amount: Amount
    state: Literal["accepted", "paid", "returned"]


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds, and how much of that is to go: orders that are accepted and not yet booked."""

    held: Amount
    owed: Amount
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Entries:
    """Booked entries in the order of booking. `cursor` asks for those after them."""

    entries: tuple[Entry, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification. It is delivered until it is acknowledged."""

    id: str
    observation: Observation


class Bank(Protocol):
    """One that holds an account for each of our assets."""

    def pay(self, key: str, destination: str, amount: Amount) -> Payment:
        """Order a payment; with a key that it knows, its payment as it is now. Raises OrderRefused, NoAnswer."""
        ...

    def find(self, key: str) -> Payment | None:
        """The payment that was ordered under the key. None is final only where nobody is still ordering. Raises NoAnswer."""
        ...

    def balance(self, asset: str) -> Balance:
        """Raises NoAnswer."""
        ...

    def entries(self, asset: str, after: str = "") -> Entries:
        """What was booked after the cursor, the empty one being the beginning. Raises NoAnswer."""
        ...

    def deliveries(self) -> list[Delivery]:
        """What it has to tell, late, in any order and more than once: a hint to look, never the last word. Raises NoAnswer."""
        ...

    def acknowledge(self, delivery: str) -> None:
        """It need not be delivered again; it may be all the same. Raises NoAnswer."""
        ...


# A chain


@dataclass(frozen=True, slots=True)
class Call:
    """One transaction. The same fields are the same transaction, with the same hash."""

    kind: Literal["mint", "request_burn", "burn", "release", "transfer"]
    """`mint`, `burn` and `release` are the operator's. A holder's `request_burn` puts tokens into escrow, from where all of
    them are burned, or released to the holder."""
    asset: str
    units: int
    target: str
    """Who receives a mint or a transfer; empty otherwise."""
    reference: str
    """Of a mint, a deposit's; of the three about burning, the withdrawal's. Each is used once."""
    sender: str
    nonce: int
    price: int = 150
    """In gwei."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction; final."""

    transaction: str
    block: int
    is_done: bool
    cause: str = ""
    """Why it was reverted."""


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract told while a transaction was executed."""

    kind: Literal["minted", "burn_requested", "burned", "released", "transferred"]
    asset: str
    units: int
    source: str
    target: str
    reference: str
    transaction: str
    block: int
    index: int
    """Within the block."""


@dataclass(frozen=True, slots=True)
class Logs:
    """Of all final blocks up to `block`, in the order in which they were told."""

    logs: tuple[Log, ...]
    block: int


class Chain(Protocol):
    """The EVM, as far as money needs it. Blocks are final when they can be seen here."""

    def next_nonce(self, sender: str) -> int:
        """The first that no transaction of the sender has, mined or waiting. Raises NoAnswer."""
        ...

    def send(self, call: Call) -> str:
        """Its hash; a call that was sent before is known by it and not done twice. Raises NonceTaken, Underpriced, NoAnswer."""
        ...

    def holder_of(self, sender: str, nonce: int) -> str | None:
        """The hash of the transaction that has the nonce, mined or waiting. Raises NoAnswer."""
        ...

    def receipt(self, transaction: str) -> Receipt | None:
        """None while it waits, or where it was replaced or never arrived. Raises NoAnswer."""
        ...

    def head(self) -> int:
        """The newest final block. Raises NoAnswer."""
        ...

    def total_supply(self, asset: str, block: int) -> int:
        """As it was after the block. Raises LookupError for one that is not there yet, NoAnswer."""
        ...

    def logs(self, after: int = 0) -> Logs:
        """Of the blocks after this one. Raises NoAnswer."""
        ...
