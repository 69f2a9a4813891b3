"""The paper chain's rewards contract: it keeps each epoch's root, and pays whoever proves a row of the newest one.

It pays from what it holds and makes nothing, so that a claim changes no token's supply, and bank, books and chain stay
comparable. What a fee was paid with lay on the chain before it was captured: whoever prepays has sent the coins (the ledger's
`deposits:evm`), here to this contract itself, since capture and split move them in the ledger only. SPACE is minted on the
native chain and brought over. Where the contract holds less than what is due, a claim waits; it is never paid in part.
"""

from adapters.bank.paper import tokens
from adapters.bank.paper.kept import State
from adapters.bank.paper.tokens import Reverted, Told
from adapters.bank.ports import ClaimRewards, SetRoot
from contracts import Amount
from contracts.rewards import SPACE, ChainHash, Payee
from domain.rewards.claims import NATIVE_TOKEN, Claim, proves

CONTRACT = Payee("0x" + "5e" * 20)
_ASSETS = {NATIVE_TOKEN: SPACE, **{token: asset for asset, token in tokens.CONTRACTS.items()}}


def empty() -> State:
    return {"roots": [], "claimed": {}}


def set_root(state: State, call: SetRoot, operator: str) -> Told:
    """Raises Reverted."""
    roots = state.setdefault("roots", [])
    if call.sender != operator:
        raise Reverted("the sender is not the operator")
    if roots and call.epoch <= roots[-1][0]:
        raise Reverted("the epoch has a root, or a later one has")
    roots.append([call.epoch, call.root])
    return Told("root_set", "", 0, call.sender, "", call.reference)


def claim(state: State, call: ClaimRewards) -> Told:
    """Raises Reverted."""
    roots, claimed = state.setdefault("roots", []), state.setdefault("claimed", {})
    row = Claim(Payee(call.account.lower()), Payee(call.token.lower()), call.cumulative)
    if not roots or not _is_proved(row, call, ChainHash(roots[-1][1])):
        raise Reverted("the proof does not lead to the root")
    if (asset := _ASSETS.get(row.token)) is None:
        raise Reverted("the token is not here")
    name = f"{row.token} {row.account}"
    payout = row.cumulative - int(claimed.get(name, "0"))
    if payout <= 0:
        raise Reverted("nothing is left to claim")
    paid = in_token(asset, payout)
    if tokens.balance(state, paid.asset, CONTRACT) < paid.units:
        raise Reverted("the contract holds less than that")
    tokens.take(state, paid.asset, CONTRACT, paid.units)
    tokens.give(state, paid.asset, row.account, paid.units)
    claimed[name] = str(row.cumulative)
    return Told("claimed", asset, payout, CONTRACT, row.account, "")


def in_token(asset: str, units: int) -> Amount:
    """What moves: a row counts SPACE with the ledger's 4 decimals, gas has 18. From fewer to more is exact."""
    amount = Amount.of(asset, units)
    return amount.to("SPACE.evm") if asset == SPACE else amount


def _is_proved(row: Claim, call: ClaimRewards, root: ChainHash) -> bool:
    try:
        return proves(row, [bytes.fromhex(node.removeprefix("0x")) for node in call.proof], root)
    except (ValueError, OverflowError):
        # What does not fit the function's types never gets into a real transaction.
        return False
