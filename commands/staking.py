"""Asking staking."""

from commands import Service
from contracts.staking import StakingCommand


class Staking(Service):
    """What is at risk."""

    def handle(self, command: StakingCommand) -> None:
        raise NotImplementedError(command.wire.type)
