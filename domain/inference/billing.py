"""What tokens cost, what must be held for a request, and how far a claim may exceed what was observed."""

from contracts.inference import TOLERANCES, Method
from contracts.rewards import PROTOCOL_FEE_PERCENT


def most_of(observed: int, method: Method) -> int:
    """The greatest claim that an observation bears out. Who claims less is paid less."""
    percent, tokens = TOLERANCES[method]
    return observed + max(observed * percent // 100, tokens)


def protocol_fee(price: int) -> int:
    """On top of the price, rounded up (white paper 9.7); USD.s units."""
    return -(-price * PROTOCOL_FEE_PERCENT // 100)


def to_be_held(cost: int) -> int:
    """What a request that costs at most so much needs to have held; USD.s units."""
    return cost + protocol_fee(cost)
