"""What a bank and a chain can be asked, and what holds of any of them.

Every question may end in NoAnswer, and then nobody knows whether it was acted on. So whatever moves money has a name: at the
bank a key, on the chain a sender's nonce. The same order under the same name moves it once, however often it is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from adapters.bank.entries import Entry
from adapters.bank.observations import Observation
from contracts import Amount
from contracts.rewards import Payee


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
    """A transaction about a token. The same fields are the same transaction, with the same hash."""

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
class SetRoot:
    """The operator's: from now on the rewards contract pays by this root. Epochs ascend, and each has one root."""

    kind: ClassVar[Literal["set_root"]] = "set_root"
    epoch: int
    root: str
    sender: str
    nonce: int
    price: int = 150

    @property
    def reference(self) -> str:
        """As the log of it has: another root of the same epoch is another thing."""
        return f"{self.epoch}:{self.root}"


@dataclass(frozen=True, slots=True)
class ClaimRewards:
    """Anybody's: the rewards contract pays the account what its row of the newest root has beyond what it claimed."""

    kind: ClassVar[Literal["claim"]] = "claim"
    account: str
    token: str
    """The asset's contract; zero for SPACE."""
    cumulative: int
    """As the row has it, in units of the asset."""
    proof: tuple[str, ...]
    """Siblings from leaf to root, 32 bytes each, `0x` and hexadecimal digits."""
    sender: str
    nonce: int
    price: int = 150


Transaction = Call | SetRoot | ClaimRewards
LogKind = Literal["minted", "burn_requested", "burned", "released", "transferred", "root_set", "claimed"]


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

    kind: LogKind
    asset: str
    """Of a claim the asset of its row, SPACE for what was paid in gas; empty of a root."""
    units: int
    source: str
    target: str
    """Of a claim the account that was paid."""
    reference: str
    """The call's; of a root its epoch and itself, `20417:0x…`; of a claim empty."""
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

    @property
    def tokens(self) -> Mapping[str, Payee]:
        """Of each asset that is a token here its contract. SPACE has none: it pays for gas."""
        ...

    @property
    def rewards(self) -> Payee:
        """The rewards contract. It pays from what it holds."""
        ...

    def next_nonce(self, sender: str) -> int:
        """The first that no transaction of the sender has, mined or waiting. Raises NoAnswer."""
        ...

    def send(self, call: Transaction) -> str:
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
