"""What the key registry refuses."""

from domain import Refused


class AlreadyFounded(Refused):
    """A network is founded once."""


class NotARoot(Refused):
    """The network is founded by one of its genesis's roots."""


class GenesisDiffers(Refused):
    """The network is founded exactly as its genesis says."""


class OnAnotherNetwork(Refused):
    """The stream names another network than the record."""


class AddressedWrongly(Refused):
    """The stream is that of another key, or of none."""


class BadProof(Refused):
    """The new key did not sign that it wants to be registered here, by this command of this source."""


class EndTooFar(Refused):
    """A service key ends within 366 days, and after now."""


class NoSuchRole(Refused):
    """No command of any context asks for that role."""


class BadPrefix(Refused):
    """A prefix ends in `/` or `.`, or is the whole name of one stream and covers only that."""


class Revoked(Refused):
    """A revoked key is never registered again."""


class NotRegistered(Refused):
    """Nothing of the kind is registered for this key."""


class NoSuchProposal(Refused):
    """Nothing of that digest waits for approval: it never did, has lapsed after seven days, or was decided."""


class SamePerson(Refused):
    """Proposer, approvers and proposed key are different persons. A rotated key is no second person."""


class AlreadyKnown(Refused):
    """The successor is in the authority table: registering a known key is no rotation, and nobody becomes another person."""


class NeedsQuorum(Refused):
    """A writer, another registrar, or oneself where fewer than the quorum are left, is ended by ProposeEnd, ApproveEnd."""


class NoSuccessor(Refused):
    """A writer is ended when another one is in force for the same streams."""


class TooManyFollow(Refused):
    """More follows from the key than one revocation ends. First a later date, then earlier ones, end it in parts."""
