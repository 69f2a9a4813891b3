"""The paper chain's tokens: who holds how much, what waits to be burned, and how much there is of each."""

import hashlib
from typing import NamedTuple

from adapters.bank.paper.kept import State
from adapters.bank.ports import Call, LogKind
from contracts.rewards import Payee
from contracts.treasury import COINS

CONTRACTS = {
    asset: Payee("0x" + hashlib.sha256(f"paper {asset}".encode()).hexdigest()[:40]) for asset in (*COINS, "USDT.s", "USDC.s")
}
"""Addresses that nobody has deployed to."""


class Reverted(Exception):
    """The contract says no; the nonce is used all the same."""


class Told(NamedTuple):
    """A log, but for its place."""

    kind: LogKind
    asset: str
    units: int
    source: str
    target: str
    reference: str


def empty() -> State:
    return {"balances": {}, "escrow": {}, "used": [], "supply": {}}


def execute(state: State, call: Call, operator: str) -> Told:
    """What reverts is checked before anything is changed. Raises Reverted."""
    if call.kind in ("mint", "burn", "release") and call.sender != operator:
        raise Reverted("the sender is not the operator")
    if call.kind not in ("burn", "release") and call.units <= 0:
        raise Reverted("nothing moves")
    match call.kind:
        case "mint":
            _use(state, f"mint:{call.reference}")
            give(state, call.asset, call.target, call.units)
            supply(state, call.asset, call.units)
            return Told("minted", call.asset, call.units, "", call.target, call.reference)
        case "request_burn":
            _is_free(state, f"burn:{call.reference}")
            take(state, call.asset, call.sender, call.units)
            _use(state, f"burn:{call.reference}")
            state["escrow"][call.reference] = [call.asset, call.sender, str(call.units)]
            return Told("burn_requested", call.asset, call.units, call.sender, "", call.reference)
        case "burn":
            holder, units = _from_escrow(state, call)
            supply(state, call.asset, -units)
            return Told("burned", call.asset, units, holder, "", call.reference)
        case "release":
            holder, units = _from_escrow(state, call)
            give(state, call.asset, holder, units)
            return Told("released", call.asset, units, "", holder, call.reference)
        case "transfer":
            take(state, call.asset, call.sender, call.units)
            give(state, call.asset, call.target, call.units)
            return Told("transferred", call.asset, call.units, call.sender, call.target, call.reference)


def balance(state: State, asset: str, account: str) -> int:
    return int(state["balances"].get(f"{asset} {account}", "0"))


def give(state: State, asset: str, account: str, units: int) -> None:
    state["balances"][f"{asset} {account}"] = str(balance(state, asset, account) + units)


def take(state: State, asset: str, account: str, units: int) -> None:
    """Raises Reverted."""
    if balance(state, asset, account) < units:
        raise Reverted("the sender has less than that")
    give(state, asset, account, -units)


def supply(state: State, asset: str, units: int) -> None:
    """So much more or less there is of it."""
    state["supply"][asset] = str(int(state["supply"].get(asset, "0")) + units)


def _is_free(state: State, name: str) -> None:
    if name in state["used"]:
        raise Reverted("the reference was used")


def _use(state: State, name: str) -> None:
    _is_free(state, name)
    state["used"].append(name)


def _from_escrow(state: State, call: Call) -> tuple[str, int]:
    asset, holder, units = state["escrow"].get(call.reference, ("", "", "0"))
    if asset != call.asset:
        raise Reverted("nothing is in escrow under the reference")
    del state["escrow"][call.reference]
    return holder, int(units)
