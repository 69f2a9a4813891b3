"""Asking rewards."""

from commands import Service
from contracts.rewards import RewardsCommand


class Rewards(Service):
    """Fees, emission, grants, epochs and claims."""

    def handle(self, command: RewardsCommand) -> None:
        raise NotImplementedError
