"""Contract calls that are made once, whoever dies in between: a call's nonce is kept before it is sent.

Its answer is looked for in the chain's own logs first, so that nothing is lost where this memory is: a reference is used
once, and a second call for it reverts.
"""

import logging
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Engine, delete, func, insert, select

from adapters.bank.ports import Call, Chain, Log, NonceTaken, Receipt, SetRoot
from adapters.sql import reading
from adapters.views.tables import calls

log = logging.getLogger(__name__)

TOLD = {"mint": "minted", "burn": "burned", "release": "released", "set_root": "root_set"}
"""What the contract tells when a call of that kind has succeeded."""
Operators = Call | SetRoot
"""What is called in the operator's name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is final about a call."""

    transaction: str
    block: int
    cause: str = ""
    """Why it can never be in the chain; empty where it is."""


class Calls:
    """The operator's calls. `sender` is the address that signs them."""

    def __init__(self, chain: Chain, engine: Engine, sender: str) -> None:
        self._chain, self._engine, self._sender = chain, engine, sender
        self._logs: list[Log] = []
        self._block = 0

    def told(self, kind: str, reference: str) -> Log | None:
        """What a contract said of the reference, as soon as that is final. Raises NoAnswer."""
        found = self._chain.logs(self._block)
        self._logs += found.logs
        self._block = found.block
        return next((entry for entry in self._logs if entry.kind == kind and entry.reference == reference), None)

    def answer(
        self, kind: Literal["mint", "burn", "release"], asset: str, reference: str, units: int, target: str
    ) -> Answer | None:
        """Make the call, or hear what became of it; None while that is open. Raises NoAnswer."""
        return self._answer(Call(kind, asset, units, target, reference, self._sender, 0))

    def set_root(self, epoch: int, root: str) -> Answer | None:
        """Put the epoch's root on the rewards contract, or hear what became of that; as `answer`."""
        return self._answer(SetRoot(epoch, root, self._sender, 0))

    def _answer(self, call: Operators) -> Answer | None:
        if (seen := self.told(TOLD[call.kind], call.reference)) is not None:
            return Answer(seen.transaction, seen.block)
        call = self._kept(call)
        try:
            transaction = self._chain.send(call)
        except NonceTaken as taken:
            # Somebody else used the nonce: this transaction will never be mined.
            log.warning("%s %s: %s", call.kind, call.reference, taken)
            self._forget(call)
            return None
        receipt = self._chain.receipt(transaction)
        return None if receipt is None else self._judged(call, receipt)

    def _judged(self, call: Operators, receipt: Receipt) -> Answer | None:
        if receipt.is_done:
            return Answer(receipt.transaction, receipt.block)
        if self.told(TOLD[call.kind], call.reference) is not None:
            # An earlier call did it.
            return None
        self._forget(call)
        return Answer(receipt.transaction, receipt.block, receipt.cause or "reverted")

    def _kept(self, call: Operators) -> Operators:
        with reading(self._engine) as connection:
            mine = (calls.c.kind == call.kind) & (calls.c.reference == call.reference)
            nonce = connection.scalar(select(calls.c.nonce).where(mine))
        return replace(call, nonce=self._taken(call) if nonce is None else nonce)

    def _taken(self, call: Operators) -> int:
        nonce = self._chain.next_nonce(self._sender)
        with self._engine.begin() as connection:
            last = connection.scalar(select(func.max(calls.c.nonce)).where(calls.c.sender == self._sender))
            nonce = max(nonce, -1 if last is None else last + 1)
            row = {"kind": call.kind, "reference": call.reference, "sender": self._sender, "nonce": nonce}
            connection.execute(insert(calls).values(**row))
        return nonce

    def _forget(self, call: Operators) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(calls).where(calls.c.kind == call.kind, calls.c.reference == call.reference))
