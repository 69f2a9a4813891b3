"""What a request must be in order to be opened: a chain that agrees with what was asked, and money that suffices for it."""

from contracts.inference import RACERS, Considered, OpenRequest
from contracts.providers import OfferId
from domain.inference.billing import to_be_held
from domain.inference.refusals import ConstraintBroken, NoProviderEligible, NoRate, NotHeld, TargetUnreachable


def refuse_empty(command: OpenRequest) -> None:
    """Raises TargetUnreachable, NoProviderEligible."""
    if not command.chain:
        if command.strategy == "handoff":
            raise TargetUnreachable(f"{command.constraints.device} cannot serve it", "chain")
        raise NoProviderEligible(field="chain")


def refuse_contradictions(command: OpenRequest) -> None:
    """Raises ConstraintBroken."""
    limits, considered = command.constraints, {entry.offer: entry for entry in command.considered}
    if limits.models is not None and command.model not in limits.models:
        raise ConstraintBroken(f"the key's scope does not have {command.model}", "model")
    if command.strategy == "handoff" and limits.device is None:
        raise ConstraintBroken("a handoff names its device", "constraints")
    if command.strategy in ("failover", "custom") and not limits.steps:
        raise ConstraintBroken(f"{command.strategy} has steps", "constraints")
    if len(set(command.chain)) != len(command.chain):
        raise ConstraintBroken("an offer stands in the chain twice", "chain")
    if len(considered) != len(command.considered):
        raise ConstraintBroken("an offer was considered twice", "considered")
    if command.strategy == "parallel" and len(command.chain) > RACERS:
        raise ConstraintBroken(f"a race is between {RACERS}", "chain")
    for offer in command.chain:
        _refuse_contradicting(offer, considered.get(offer), command)


def _refuse_contradicting(offer: OfferId, entry: Considered | None, command: OpenRequest) -> None:
    if entry is None or entry.reason is not None:
        raise ConstraintBroken(f"{offer} is chosen but was not found eligible", "considered")
    cap = command.constraints.max_price
    if cap is not None and entry.cost > cap:
        raise ConstraintBroken(f"{offer} costs {entry.cost}, above {cap}", "chain")
    if offer in command.excluded:
        raise ConstraintBroken(f"{offer} is chosen but excluded", "chain")


def refuse_unfunded(command: OpenRequest, protocol_fee_bp: int) -> None:
    """Raises NoRate, NotHeld."""
    if command.funds is None:
        return
    if command.funds.asset != "USD.s":
        raise NoRate(f"{command.funds.asset} has no rate in USD.s", "funds")
    dearest = max(entry.cost for entry in command.considered if entry.offer in command.chain)
    if command.funds.amount < (owed := to_be_held(dearest, protocol_fee_bp)):
        raise NotHeld(f"{command.funds.amount} is held, {owed} may be owed", "funds")
