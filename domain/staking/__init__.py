"""What is at risk, when it may leave, and what it takes before anything is taken (white paper 5.4, 9.6, 14)."""

import re

from domain import Refused

_ACCOUNT = re.compile(r"treasury/account/[^/]+\.SPACE")


class AddressedWrongly(Refused):
    """The stream is not the one that the command is for."""


class Tombstoned(Refused):
    """A key that lied never registers or stakes again."""


class BelowMinimum(Refused):
    """The collateral is below what its kind needs: 100 SPACE a device, 10,000 an oracle."""


class HoldUsed(Refused):
    """The hold was staked or posted already, with another amount or account."""


class RequestUsed(Refused):
    """A request of that name was made for another amount."""


class ExceedsActive(Refused):
    """More is asked for than is active."""


class CasePending(Refused):
    """A case holds it."""


class NoSuchRequest(Refused):
    """Nothing is being unstaked under that name."""


class StillBonding(Refused):
    """What is unstaked leaves seven days after its request."""


class NothingLeft(Refused):
    """Other cases hold all that there is."""


class NotHeld(Refused):
    """The case holds nothing of this collateral, or the treasury nothing for it."""


class AlreadySlashed(Refused):
    """The case took what it held."""


class StillOpen(Refused):
    """The case is not decided yet."""


class NotAttested(Refused):
    """Not enough witnesses agreed, or the case is closed: it holds nothing, takes nothing and names no such amount."""


class NotExecuted(Refused):
    """Only a case that was executed takes anything."""


class AlreadyRegistered(Refused):
    """The device is registered, or asks to be, with another key, wallet or serial number."""


class NotAsked(Refused):
    """The device did not ask to be registered."""


class NotClaimed(Refused):
    """The device's serial number or key is not bound to its bond."""


class NotRegistered(Refused):
    """The device is not registered."""


class NotSuspended(Refused):
    """The device is not suspended."""


class BoundElsewhere(Refused):
    """The serial number or key belongs to another bond: identities are cheap."""


class StillRegistered(Refused):
    """The device that has it is registered with it, or asks to be."""


class AlreadyOpen(Refused):
    """The case is open or was decided, and says something else."""


class NotOpen(Refused):
    """There is no such case."""


class NotBreached(Refused):
    """Five percent missed, or what was adopted, is no breach, and an epoch that left fewer than 144 slots breaches nobody."""


class EvidenceTooOld(Refused):
    """Evidence later than seven days after its epoch opens nothing."""


class BaseDiffers(Refused):
    """What is said to have been at risk when the epoch began was not."""


class OtherTerms(Refused):
    """A case is opened by the policy that was in force when the epoch of the offence began."""


class PanelNotDrawn(Refused):
    """The panel is not in the order that its seed draws, or the accused is on it."""


class NotOnPanel(Refused):
    """The oracle was not drawn for this case."""


class AlreadyAttested(Refused):
    """The oracle signed another finding. Both signatures together are a bad proof."""


class WindowClosed(Refused):
    """The time for it is over."""


class NotEquivocal(Refused):
    """The two are not signed findings of one key on one question that differ."""


class NotRefuted(Refused):
    """The answer reaches its manifest's root, or is not signed by the accused."""


class AlreadyDisputed(Refused):
    """The case is disputed, or appealed, already."""


class BondTooSmall(Refused):
    """No bond of that name was posted to the case, or it is too small."""


class NotDisputed(Refused):
    """The case is not disputed under that proposal, or not appealed."""


class SamePerson(Refused):
    """A person answers once, with whatever key."""


class AlreadyClosed(Refused):
    """The case is closed."""


class AlreadyObserved(Refused):
    """That log was observed with another kind or amount."""


class CoolingDown(Refused):
    """An address is given a drip once in 24 hours."""


class NoFaucetHere(Refused):
    """Only testnets have a faucet."""


class FaucetEmpty(Refused):
    """The day's allowance is given out."""


class FindingIncomplete(Refused):
    """A downtime is attested by the slots missed, a bad proof by a verdict, and neither by both."""


def require_space(account: str, field: str = "account") -> None:
    """That the treasury's account, which the command's field names, is one of SPACE. Raises AddressedWrongly."""
    if not _ACCOUNT.fullmatch(account):
        raise AddressedWrongly("what is staked, or posted as a bond, is SPACE of an account", field)
