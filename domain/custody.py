"""Custody's rules: a sealing key is made once and destroyed once, and nothing leads out of that."""

from dataclasses import dataclass
from typing import assert_never

from contracts.custody import CreateKey, CustodyEvent, KeyCreated, KeyShredded, Shred
from domain import Aggregate, Refused


class AlreadyHeld(Refused):
    """The key exists, for another kind of record."""


class NotHeld(Refused):
    """No key of that name was ever made."""


class Shredded(Refused):
    """The key was destroyed."""


@dataclass
class SealingKey(Aggregate[CustodyEvent]):
    """One key: for which class and year, and whether it still is."""

    retention_class: str = ""
    year: int = 0
    shredded: bool = False

    def create(self, command: CreateKey) -> None:
        if self.shredded:
            raise Shredded
        if self.retention_class:
            if (self.retention_class, self.year) != (command.retention_class, command.year):
                raise AlreadyHeld(f"the key is of {self.retention_class} {self.year}", "retention_class")
            return
        self.record(KeyCreated(kind=command.kind, retention_class=command.retention_class, year=command.year))

    def shred(self, command: Shred) -> None:
        if not self.retention_class:
            raise NotHeld
        if not self.shredded:
            self.record(KeyShredded(cause=command.cause))

    def apply(self, event: CustodyEvent) -> None:
        match event:
            case KeyCreated(retention_class=retention_class, year=year):
                self.retention_class, self.year = retention_class, year
            case KeyShredded():
                self.shredded = True
            case _:
                assert_never(event)
