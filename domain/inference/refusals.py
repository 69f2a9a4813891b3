"""Why a request is not opened, tried, counted or settled as it was asked."""

from domain import Refused


class AlreadyOpened(Refused):
    """The request is open with another decision: one request is decided once."""


class NoProviderEligible(Refused):
    """No offer may serve the request; `considered` says why not."""


class TargetUnreachable(Refused):
    """The device to which the request is pinned cannot serve it; a pin is a promise, so it goes nowhere else."""


class TableTooOld(Refused):
    """The decision used a table older than 60 s (white paper 5.2), or one of the future."""


class ConstraintBroken(Refused):
    """The chain contradicts what was asked or what was considered."""


class NotHeld(Refused):
    """Less is held than the dearest offer of the chain may cost, with the protocol fee on top."""


class NoRate(Refused):
    """Prices are in USD.s; to pay in SPACE needs a rate, and there is none yet."""


class NotOpen(Refused):
    """The request was never opened."""


class NotInChain(Refused):
    """The offer was not chosen for the request: nothing but its chain is tried."""


class TooManyAttempts(Refused):
    """A request is tried four times."""


class OutOfTurn(Refused):
    """Attempts are numbered in their order, and one runs at a time; in a race two."""


class AlreadyWon(Refused):
    """Another attempt has delivered: a second answer would be delivered twice."""


class NoSuchAttempt(Refused):
    """The request has no attempt of that number with that offer."""


class AlreadyEnded(Refused):
    """The attempt ended otherwise: each ends once."""


class HalfAnEnd(Refused):
    """What completed says its hash and reason, what failed its failure, what was cancelled its cause; and nothing else."""


class StillRunning(Refused):
    """The router has not said yet what it observed."""


class OtherRequest(Refused):
    """The receipt is for another request."""


class TooLate(Refused):
    """A receipt comes within 600 s of the attempt's end, and before the request is closed."""


class AlreadyMatched(Refused):
    """The device's receipt stands, or was resolved or refuted: it is not replaced."""


class TooManyReceipts(Refused):
    """More devices signed receipts for the request than it can have had."""


class NothingOwed(Refused):
    """No attempt delivered anything."""


class NotDisputed(Refused):
    """The device has no receipt in dispute here."""


class BeyondObserved(Refused):
    """More than the router observed, within its tolerance, is owed to nobody."""


class OwnReceipt(Refused):
    """Nobody resolves a dispute over a receipt of his own."""


class WindowClosed(Refused):
    """Seven days after the attempt's end its receipt is beyond dispute."""


class NoSuchReceipt(Refused):
    """The device has no receipt for what was delivered."""


class AlreadyRefuted(Refused):
    """The receipt was refuted by other evidence."""


class NotMatched(Refused):
    """The device that the offer belongs to has no receipt that stands."""


class OtherTerms(Refused):
    """The terms are not those of the decision that the router signed."""


class BeyondHold(Refused):
    """More is owed than is held."""


class AlreadySettled(Refused):
    """The request is settled: it is paid once."""


class NotSettled(Refused):
    """There is no bill, or none that is paid from this hold."""


class PaidOtherwise(Refused):
    """What was captured is not what is owed: it stays in the clearing account until somebody looks at it."""


class AlreadyClosed(Refused):
    """The request was closed, or cancelled."""


class NotYetLost(Refused):
    """The router, or the provider, has still time to say what happened."""


class Owed(Refused):
    """Something was delivered, or a receipt stands: that is settled first."""
