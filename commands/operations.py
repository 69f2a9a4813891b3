"""Asking operations: record a rebuild, a swap, a parked stream, a run, and with what a deployment runs."""

from typing import assert_never

from commands import Service
from contracts.operations import (
    AbandonRebuild,
    ConfirmDrained,
    DeclareProfile,
    ExportRecords,
    OperationsCommand,
    ParkStream,
    Redrive,
    ReplayWindow,
    RetireVersion,
    RunWhatIf,
    StartRebuild,
    SwapView,
)
from domain.operations import Declared, ParkedStream, Run, View


class Operations(Service):
    """What operators and analysts did."""

    def handle(self, command: OperationsCommand) -> None:
        actor = self.asked.actor
        match command:
            case StartRebuild():
                self.load(View).start(command)
            case SwapView():
                self.load(View).swap(command)
            case AbandonRebuild():
                self.load(View).abandon(command)
            case RetireVersion():
                self.load(View).retire(command)
            case ParkStream():
                self.load(ParkedStream).park(command)
            case Redrive():
                self.load(ParkedStream).redrive(command)
            case ConfirmDrained():
                self.load(ParkedStream).confirm(command)
            case RunWhatIf():
                self.load(Run).what_if(command, actor)
            case ReplayWindow():
                self.load(Run).window(command, actor)
            case ExportRecords():
                self.load(Run).export(command, actor)
            case DeclareProfile():
                self.load(Declared).declare(command, self.asked.record.network)
            case _:
                assert_never(command)
