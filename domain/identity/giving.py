"""How many registrars give a role."""

from importlib import import_module

from contracts import contexts
from domain.identity.authority import REGISTRAR, WRITER

GIVEN_BY_ONE_KINDS = frozenset({"gpu", "node", "relay", "router", "coordinator", "gateway", "collector", "holder"})
"""Kinds of roles that are bounded by their own streams or a mandate: one registrar gives them, whatever the context."""
GIVEN_BY_TWO = frozenset({"apikeys.gateway", "inference.router", "evm.gateway"})
"""Roles of such kinds that are not: the first two together invent requests of bearer keys."""


def persons_needed(role: str, quorum: int) -> int:
    """How many registrars of different persons, none of them the key's own, give the role."""
    if role in (REGISTRAR, WRITER):
        return max(2, quorum)
    return 1 if _is_given_by_one(role) else 2


def _is_given_by_one(role: str) -> bool:
    """Whether the kind is bounded, or the context's language says so: its `GIVEN_BY_ONE`, a set of roles."""
    if role in GIVEN_BY_TWO:
        return False
    context, _, kind = role.partition(".")
    if kind in GIVEN_BY_ONE_KINDS:
        return True
    return context in contexts() and role in getattr(import_module(f"contracts.{context}"), "GIVEN_BY_ONE", ())
