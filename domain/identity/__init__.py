"""Who may register, rotate and end a key. A key is a stream; the network's founding is another."""

from domain.identity.key import Asking, Key
from domain.identity.network import Network
from domain.identity.refusals import (
    AddressedWrongly,
    AlreadyFounded,
    AlreadyKnown,
    BadPrefix,
    BadProof,
    EndTooFar,
    GenesisDiffers,
    NeedsQuorum,
    NoSuccessor,
    NoSuchProposal,
    NoSuchRole,
    NotARoot,
    NotRegistered,
    OnAnotherNetwork,
    Revoked,
    SamePerson,
    TooManyFollow,
)

__all__ = [
    "AddressedWrongly", "AlreadyFounded", "AlreadyKnown", "Asking", "BadPrefix", "BadProof", "EndTooFar", "GenesisDiffers",
    "Key", "NeedsQuorum", "Network", "NoSuccessor", "NoSuchProposal", "NoSuchRole", "NotARoot", "NotRegistered",
    "OnAnotherNetwork", "Revoked", "SamePerson", "TooManyFollow",
]  # fmt: skip
