"""A chain without miners: transactions wait in a pool until somebody mines, each sender's in the order of nonces."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from adapters.bank.paper.faults import Fault, Faults, nothing
from adapters.bank.paper.kept import Kept, State
from adapters.bank.ports import Call, Log, Logs, NonceTaken, Receipt, Underpriced

_Kind = Literal["minted", "burn_requested", "burned", "released", "transferred"]

OPERATOR = "0x" + "0f" * 20
"""Who may mint, burn and release, unless another is named."""


class _Reverted(Exception):
    """The contract says no; the nonce is used all the same."""


def _empty() -> State:
    return nothing() | {
        "blocks": [], "pool": [], "mined": {}, "receipts": {}, "logs": [], "balances": {}, "escrow": {}, "used": [],
        "supply": {},
    }  # fmt: skip


class PaperChain:
    """The EVM as far as money needs it. A block is mined when somebody says so; what is mined is final."""

    def __init__(self, path: Path | None = None, faults: Faults | None = None, operator: str = OPERATOR) -> None:
        self._kept = Kept(path, _empty)
        self._faults = faults or Faults()
        self._operator = operator

    # What it is asked

    def next_nonce(self, sender: str) -> int:
        return self._faults.asked(self._kept, lambda state: _next_nonce(state, sender))

    def send(self, call: Call) -> str:
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

    def balance_of(self, asset: str, account: str) -> int:
        """What the token's contract would say now."""
        with self._kept.opened() as state:
            return _balance(state, asset, account)

    # Inside

    def _execute(self, state: State, call: Call, block: int) -> None:
        transaction = hash_of(call)
        _mined(state, call.sender).append(transaction)
        try:
            kind, source, target, units = self._effect(state, call)
        except _Reverted as reverted:
            state["receipts"][transaction] = asdict(Receipt(transaction, block, False, str(reverted)))
            return
        state["receipts"][transaction] = asdict(Receipt(transaction, block, True))
        index = sum(log["block"] == block for log in state["logs"])
        log = Log(kind, call.asset, units, source, target, call.reference, transaction, block, index)
        state["logs"].append(asdict(log) | {"units": str(units)})

    def _effect(self, state: State, call: Call) -> tuple[_Kind, str, str, int]:
        """The log's kind, from whom, to whom and how much. What reverts is checked before anything is changed."""
        if call.kind in ("mint", "burn", "release") and call.sender != self._operator:
            raise _Reverted("the sender is not the operator")
        if call.kind not in ("burn", "release") and call.units <= 0:
            raise _Reverted("nothing moves")
        match call.kind:
            case "mint":
                _use(state, f"mint:{call.reference}")
                _give(state, call.asset, call.target, call.units)
                _supply(state, call.asset, call.units)
                return "minted", "", call.target, call.units
            case "request_burn":
                _is_free(state, f"burn:{call.reference}")
                _take(state, call.asset, call.sender, call.units)
                _use(state, f"burn:{call.reference}")
                state["escrow"][call.reference] = [call.asset, call.sender, str(call.units)]
                return "burn_requested", call.sender, "", call.units
            case "burn":
                holder, units = _from_escrow(state, call)
                _supply(state, call.asset, -units)
                return "burned", holder, "", units
            case "release":
                holder, units = _from_escrow(state, call)
                _give(state, call.asset, holder, units)
                return "released", "", holder, units
            case "transfer":
                _take(state, call.asset, call.sender, call.units)
                _give(state, call.asset, call.target, call.units)
                return "transferred", call.sender, call.target, call.units


def hash_of(call: Call) -> str:
    """Known before it is sent, as that of any signed transaction is."""
    return "0x" + hashlib.sha256("\0".join(map(str, asdict(call).values())).encode()).hexdigest()


def _send(state: State, call: Call) -> str:
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


def _written(call: Call) -> State:
    # JSON's readers differ on integers beyond 2^53, and a coin has 18 decimals.
    return asdict(call) | {"units": str(call.units)}


def _call(written: State) -> Call:
    fields: State = {**written, "units": int(written["units"])}
    return Call(**fields)


def _is_free(state: State, name: str) -> None:
    if name in state["used"]:
        raise _Reverted("the reference was used")


def _use(state: State, name: str) -> None:
    _is_free(state, name)
    state["used"].append(name)


def _balance(state: State, asset: str, account: str) -> int:
    return int(state["balances"].get(f"{asset} {account}", "0"))


def _give(state: State, asset: str, account: str, units: int) -> None:
    state["balances"][f"{asset} {account}"] = str(_balance(state, asset, account) + units)


def _take(state: State, asset: str, account: str, units: int) -> None:
    if _balance(state, asset, account) < units:
        raise _Reverted("the sender has less than that")
    _give(state, asset, account, -units)


def _supply(state: State, asset: str, units: int) -> None:
    state["supply"][asset] = str(int(state["supply"].get(asset, "0")) + units)


def _from_escrow(state: State, call: Call) -> tuple[str, int]:
    asset, holder, units = state["escrow"].get(call.reference, ("", "", "0"))
    if asset != call.asset:
        raise _Reverted("nothing is in escrow under the reference")
    del state["escrow"][call.reference]
    return holder, int(units)
