"""How many registrars give a role."""

from importlib import import_module

from contracts import contexts
from domain.identity.authority import REGISTRAR, WRITER, is_narrow

GIVEN_BY_ONE_KINDS = frozenset({"gpu", "node", "relay", "router", "coordinator", "gateway", "collector", "holder"})
"""Kinds of roles that one registrar gives, whatever the context: on one stream, or on those of one account.

What bounds them is the prefix. On a whole context or kind a holder is everybody's. Where the rules themselves keep whoever
has the role to what is his own, the context's language says so, and one gives it on any prefix: `GIVEN_BY_ONE`, a set of
roles in `contracts/<context>.py`.
"""
GIVEN_BY_TWO = frozenset({"apikeys.gateway", "inference.router", "evm.gateway"})
"""Roles of such kinds that no prefix bounds: the first two together invent requests of bearer keys."""


def persons_needed(role: str, prefix: str, quorum: int) -> int:
    """How many registrars of different persons, none of them the key's own, give the role on the prefix."""
    if role in (REGISTRAR, WRITER):
        return max(2, quorum)
    return 1 if _is_given_by_one(role, prefix) else 2


def _is_given_by_one(role: str, prefix: str) -> bool:
    if role in GIVEN_BY_TWO:
        return False
    context, _, kind = role.partition(".")
    if kind in GIVEN_BY_ONE_KINDS and is_narrow(prefix):
        return True
    return context in contexts() and role in getattr(import_module(f"contracts.{context}"), "GIVEN_BY_ONE", ())
