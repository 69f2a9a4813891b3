"""What tokens cost, what must be held for a request, and how far a claim may exceed what was observed."""

from contracts.inference import INFERENCE, TOLERANCES, Method


def most_of(observed: int, method: Method) -> int:
    """The greatest claim that an observation bears out. Who claims less is paid less."""
    percent, tokens = TOLERANCES[method]
    return observed + max(observed * percent // 100, tokens)


def protocol_fee(price: int, basis_points: int = INFERENCE.protocol_fee_bp) -> int:
    """On top of the price, rounded up (white paper 9.7); USD.s units."""
    return -(-price * basis_points // 10_000)


def to_be_held(cost: int, basis_points: int = INFERENCE.protocol_fee_bp) -> int:
    """What a request that costs at most so much needs to have held; USD.s units."""
    return cost + protocol_fee(cost, basis_points)
