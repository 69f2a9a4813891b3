"""A chain without miners: transactions wait in a pool until somebody mines, each sender's in the order of nonces."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

from adapters.bank.paper import rewards, tokens
from adapters.bank.paper.faults import Fault, Faults, nothing
from adapters.bank.paper.kept import Kept, State
from adapters.bank.paper.tokens import Reverted, Told
from adapters.bank.ports import Call, ClaimRewards, Log, Logs, NonceTaken, Receipt, SetRoot, Transaction, Underpriced
from contracts.rewards import Payee

OPERATOR = "0x" + "0f" * 20
"""Who may mint, burn, release and set roots, unless another is named."""


def _empty() -> State:
    return nothing() | {"blocks": [], "pool": [], "mined": {}, "receipts": {}, "logs": []} | tokens.empty() | rewards.empty()


class PaperChain:
    """The EVM as far as money needs it. A block is mined when somebody says so; what is mined is final."""

    def __init__(self, path: Path | None = None, faults: Faults | None = None, operator: str = OPERATOR) -> None:
        self._kept = Kept(path, _empty)
        self._faults = faults or Faults()
        self._operator = operator

    # What it is asked

    @property
    def tokens(self) -> Mapping[str, Payee]:
        return tokens.CONTRACTS

    @property
    def rewards(self) -> Payee:
        return rewards.CONTRACT

    def next_nonce(self, sender: str) -> int:
        return self._faults.asked(self._kept, lambda state: _next_nonce(state, sender))

    def send(self, call: Transaction) -> str:
        return self._faults.asked(self._kept, lambda state: _send(state, call))

    def holder_of(self, sender: str, nonce: int) -> str | None:
        return self._faults.asked(self._kept, lambda state: _holder_of(state, sender, nonce))

    def receipt(self, transaction: str) -> Receipt | None:
        def answer(state: State) -> Receipt | None:
            found = state["receipts"].get(transaction)
            return Receipt(**found) if found else None

        return self._faults.asked(self._kept, answer)

    def head(self) -> int:
        return self._faults.asked(self._kept, lambda state: len(state["blocks"]))

    def total_supply(self, asset: str, block: int) -> int:
        def answer(state: State) -> int:
            if not 0 <= block <= len(state["blocks"]):
                raise LookupError(f"block {block} is not there yet")
            return int(state["blocks"][block - 1].get(asset, "0")) if block else 0

        return self._faults.asked(self._kept, answer)

    def logs(self, after: int = 0) -> Logs:
        def answer(state: State) -> Logs:
            found = (Log(**log | {"units": int(log["units"])}) for log in state["logs"] if log["block"] > after)
            return Logs(tuple(found), len(state["blocks"]))

        return self._faults.asked(self._kept, answer)

    # What happens outside

    def demand(self, fault: Fault, times: int = 1) -> None:
        """The next questions have this fault."""
        with self._kept.opened() as state:
            state["demanded"] += [fault.value] * times

    @property
    def demanded(self) -> int:
        """How many of them have not happened yet."""
        with self._kept.opened() as state:
            return len(state["demanded"])

    def lose(self) -> int:
        """What waits is forgotten, as by a node that was restarted, and waits again once it is sent again. How many."""
        with self._kept.opened() as state:
            count = len(state["pool"])
            state["pool"] = []
            return count

    def mine(self) -> int:
        """Put into a block whatever has its sender's next nonce; the block's number."""
        with self._kept.opened() as state:
            block = len(state["blocks"]) + 1
            while ready := next((call for call in state["pool"] if call["nonce"] == len(_mined(state, call["sender"]))), None):
                state["pool"].remove(ready)
                self._execute(state, _call(ready), block)
            state["blocks"].append(dict(state["supply"]))
            return block

    def arrive(self, asset: str, account: str, units: int) -> None:
        """Somebody brings `SPACE.evm` over from the native chain, where it stays locked."""
        with self._kept.opened() as state:
            tokens.give(state, asset, account, units)
            tokens.supply(state, asset, units)

    def balance_of(self, asset: str, account: str) -> int:
        """What the token's contract would say now."""
        with self._kept.opened() as state:
            return tokens.balance(state, asset, account)

    # Inside

    def _execute(self, state: State, call: Transaction, block: int) -> None:
        transaction = hash_of(call)
        _mined(state, call.sender).append(transaction)
        try:
            told = self._effect(state, call)
        except Reverted as reverted:
            state["receipts"][transaction] = asdict(Receipt(transaction, block, False, str(reverted)))
            return
        state["receipts"][transaction] = asdict(Receipt(transaction, block, True))
        index = sum(log["block"] == block for log in state["logs"])
        log = Log(*told, transaction, block, index)
        state["logs"].append(asdict(log) | {"units": str(log.units)})

    def _effect(self, state: State, call: Transaction) -> Told:
        """What reverts is checked before anything is changed."""
        match call:
            case Call():
                return tokens.execute(state, call, self._operator)
            case SetRoot():
                return rewards.set_root(state, call, self._operator)
            case ClaimRewards():
                return rewards.claim(state, call)
            case _:
                assert_never(call)


def hash_of(call: Transaction) -> str:
    """Known before it is sent, as that of any signed transaction is."""
    return "0x" + hashlib.sha256("\0".join(map(str, _fields(call).values())).encode()).hexdigest()


def _send(state: State, call: Transaction) -> str:
    transaction = hash_of(call)
    mined = _mined(state, call.sender)
    if call.nonce < len(mined):
        if mined[call.nonce] != transaction:
            raise NonceTaken(mined[call.nonce])
        return transaction
    for waiting in map(_call, state["pool"]):
        if (waiting.sender, waiting.nonce) == (call.sender, call.nonce):
            if waiting == call:
                return transaction
            if call.price * 10 < waiting.price * 11:
                raise Underpriced(f"a replacement costs {-(-waiting.price * 11 // 10)} gwei or more")
            state["pool"].remove(_written(waiting))
            break
    state["pool"].append(_written(call))
    return transaction


def _next_nonce(state: State, sender: str) -> int:
    waiting = {call["nonce"] for call in state["pool"] if call["sender"] == sender}
    nonce = len(_mined(state, sender))
    while nonce in waiting:
        nonce += 1
    return nonce


def _holder_of(state: State, sender: str, nonce: int) -> str | None:
    mined = _mined(state, sender)
    if nonce < len(mined):
        return mined[nonce]
    waiting = (call for call in map(_call, state["pool"]) if (call.sender, call.nonce) == (sender, nonce))
    return next((hash_of(call) for call in waiting), None)


def _mined(state: State, sender: str) -> list[str]:
    """The hashes of a sender's transactions, each at the place of its nonce."""
    found: list[str] = state["mined"].setdefault(sender, [])
    return found


def _fields(call: Transaction) -> State:
    return {"kind": call.kind, **asdict(call)}


def _written(call: Transaction) -> State:
    # JSON's readers differ on integers beyond 2^53, and a coin has 18 decimals; it has no tuples.
    fields = _fields(call)
    large = {name: str(fields[name]) for name in ("units", "cumulative") if name in fields}
    return fields | large | ({"proof": list(fields["proof"])} if "proof" in fields else {})


def _call(written: State) -> Transaction:
    match written:
        case {"kind": SetRoot.kind, **fields}:
            return SetRoot(**fields)
        case {"kind": ClaimRewards.kind, "cumulative": cumulative, "proof": proof, **fields}:
            return ClaimRewards(**fields, cumulative=int(cumulative), proof=tuple(proof))
        case _:
            return Call(**{**written, "units": int(written["units"])})
