"""Audit's rules: what must not be erased is not, what matters takes two persons, and who reads leaves a trace."""

from domain import Refused


class AddressedWrongly(Refused):
    """The stream is not the one that the command is for."""


class AlreadyHeld(Refused):
    """A hold of that name covers something else."""


class NotHeld(Refused):
    """There is no hold of that name."""


class Released(Refused):
    """The hold was released; a new one needs a new name."""


class SamePerson(Refused):
    """It takes another person than the one who began it."""


class AlreadyNoted(Refused):
    """The key was noted as made for another class or year."""


class KeyUnknown(Refused):
    """Nothing is noted of the key yet, so nobody knows how long it must be kept. Ask again when its making is in the log."""


class AlreadyErased(Refused):
    """The erasure is done, or it was begun for other keys."""


class NotOrdered(Refused):
    """Nobody ordered it yet, or two persons have not."""


class StillBarred(Refused):
    """What barred the erasure still does."""


class NotShredded(Refused):
    """Not as many keys were destroyed as were to be."""


class AlreadyPublished(Refused):
    """That version was published with another digest, class or fields."""


class VersionNotNext(Refused):
    """Versions are published one after the other."""


class NotEntitled(Refused):
    """Whoever is to read has not the role audit.reader for it now: it was withdrawn, is over, or is for other streams."""


class NotDue(Refused):
    """The class's time is not over for that year."""


class UnderHold(Refused):
    """A hold covers one of the keys."""


class AlreadyKnown(Refused):
    """A witness of that name is asked already."""


class NotKnown(Refused):
    """No witness of that name is asked."""


class NotHalted(Refused):
    """The shard stands not still."""
