"""Asking custody: note that a sealing key was made, or destroyed."""

from typing import assert_never

from commands import Service
from contracts.custody import CreateKey, CustodyCommand, Shred
from domain.custody import SealingKey


class Custody(Service):
    """Sealing keys."""

    def handle(self, command: CustodyCommand) -> None:
        match command:
            case CreateKey():
                self.load(SealingKey).create(command)
            case Shred():
                self.load(SealingKey).shred(command)
            case _:
                assert_never(command)
