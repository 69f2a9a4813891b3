"""What an epoch says of a device once it is known which of its slots nobody could serve."""

from collections.abc import Iterable

from contracts import Digest
from contracts.staking import Uptime


def uptime_of(first_slot: int, end_slot: int, missed: int, root: str, excused_slots: Iterable[int]) -> Uptime:
    """An excused slot counts neither as expected nor as missed, whether the device was up in it or not."""
    expected = range(first_slot, end_slot)
    excused = sum(slot in expected for slot in set(excused_slots))
    return Uptime(expected=len(expected) - excused, excused=excused, missed=missed, root=Digest(root))
