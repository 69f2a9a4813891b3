"""Treasury's rules: no coin before its money, no payout before its burn, and two persons for what is large."""

from domain import Refused


class AddressedWrongly(Refused):
    """The stream is not the one that the command is for."""


class NotOurCurrency(Refused):
    """The treasury holds US dollars, euros and pounds sterling."""


class OtherAsset(Refused):
    """The amount is in another asset than the stream's."""


class ReferenceUsed(Refused):
    """The reference stands for something else already: an edit is not a retry."""


class SamePerson(Refused):
    """It takes another person than the one who began it; another key of the same person is the same person."""


class NotACounter(Refused):
    """The balance of a prepaid account, and what backs coins, moves by its own commands only."""


class NotExpired(Refused):
    """Its time is not over yet."""


# Stablecoins


class NotMinter(Refused):
    """The key is no minter of this coin."""


class AttestationOutOfOrder(Refused):
    """The reserves were attested for a later time already, or the time has not come."""


class ExceedsReserves(Refused):
    """More would be in circulation than the bank holds for it (white paper 8.2)."""


class StaleReserves(Refused):
    """The reserves were attested too long ago, or never."""


class MintingHalted(Refused):
    """Minting is paused until two persons resume it."""


class ExceedsAllowance(Refused):
    """The minter may not mint so much any more."""


class NotIssuable(Refused):
    """A deposit backs coins once it is settled, assigned and available, and neither given back nor in dispute."""


class NotMinted(Refused):
    """No mint of that reference is on its way."""


class AlreadyConfirmed(Refused):
    """The mint is final, in another transaction."""


class ExceedsSupply(Refused):
    """More would be burned than holders have; a mint is confirmed before what it issued is burned."""


class DeficitOpen(Refused):
    """More is in circulation than the bank holds for it."""


class NotPaused(Refused):
    """Minting is not paused."""


# Deposits


class NotObserved(Refused):
    """The deposit was not seen yet: what refers to it waits for it."""


class NotSettled(Refused):
    """The bank has not booked the deposit yet."""


class ExceedsDeposit(Refused):
    """There is less in the deposit than that."""


class DepositClosed(Refused):
    """The deposit was given back, or lost."""


class NotClosed(Refused):
    """The deposit was neither given back nor lost: it may still become coins."""


class AlreadyAssigned(Refused):
    """The deposit is somebody else's."""


class AlreadyIssued(Refused):
    """Coins were issued for the deposit, or are on their way."""


class NoDispute(Refused):
    """No dispute of that name is open."""


# Withdrawals


class AccountFrozen(Refused):
    """Part of the account's balance is frozen."""


class AlreadyFunded(Refused):
    """The withdrawal is approved: its burn may be on its way."""


class AmountDiffers(Refused):
    """It is not the amount of the withdrawal."""


class NotEscrowed(Refused):
    """The coins are not in escrow."""


class AlreadyRouted(Refused):
    """The withdrawal was routed otherwise."""


class NotUnderReview(Refused):
    """Nobody has to decide on the withdrawal."""


class RequesterCannotReview(Refused):
    """Nobody reviews what he asked for himself, with whichever key."""


class NotAllowed(Refused):
    """Only its holder sets an account's money aside for that purpose."""


class NotApproved(Refused):
    """The withdrawal is not approved."""


class NotBurned(Refused):
    """The coins are not burned, or not so many, or not in that transaction."""


class NotFunded(Refused):
    """The withdrawal's coins are not burned yet."""


class PayoutPending(Refused):
    """The bank was told, and has not sent the money back."""


class AttemptsUsed(Refused):
    """The bank has been told as often as it may be; the coins are issued again."""


class NotReturned(Refused):
    """The payout did not come back, or the bank is tried once more."""


class NotSubmitted(Refused):
    """The bank was not told to pay it."""


class WithdrawalClosed(Refused):
    """The withdrawal has ended."""


# Outflow


class OverSingleLimit(Refused):
    """More than one payout may be without two reviewers (white paper 8.2: $500)."""


class OverDailyLimit(Refused):
    """More than may leave in any 24 hours without two reviewers (white paper 8.2: $5,000)."""


class NotReserved(Refused):
    """The payout is not counted towards the limits."""


# Accounts


class NotOpen(Refused):
    """There is no such account."""


class Overdrawn(Refused):
    """The account has less than that which is neither held nor frozen."""


class HoldTooLong(Refused):
    """A hold ends in the future, and within a day."""


class HoldClosed(Refused):
    """There is no such hold, or it was captured, released or has expired."""


class ExceedsHold(Refused):
    """Less than that was held."""


class NotFrozen(Refused):
    """Nothing is frozen for that cause."""


# Reconciliation and adjustment


class AlreadyReconciled(Refused):
    """The slot was reconciled with other figures."""


class NoSuchBreak(Refused):
    """There is no break of that name."""


class Unbalanced(Refused):
    """The legs of a correction sum to zero in every asset."""


class AlreadyProposed(Refused):
    """Under that name another correction was proposed."""


class NotProposed(Refused):
    """No correction was proposed under that name."""
