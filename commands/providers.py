"""Asking providers: join, drain, leave, offer, list."""

from typing import assert_never

from commands import Service
from contracts import Did
from contracts.providers import (
    BindGpu,
    DeclareOffer,
    DelistModel,
    DrainProvider,
    Leave,
    ListModel,
    NoteStanding,
    ProvidersCommand,
    RegisterProvider,
    ReinstateOffer,
    ResumeProvider,
    SuspendOffer,
    WithdrawOffer,
)
from domain.providers import Machine, Model, Offer, Provider


class Providers(Service):
    """Machines, their offers and the catalogue."""

    def handle(self, command: ProvidersCommand) -> None:
        actor = self.asked.actor
        match command:
            case RegisterProvider(gpu=gpu):
                machine = self.read(Machine, f"providers/gpu/{gpu.serial_hash}")
                self.load(Provider).register(command, actor, bound_to=self._provider(machine.device))
            case DrainProvider():
                self.load(Provider).drain(actor)
            case ResumeProvider():
                self.load(Provider).resume(actor)
            case Leave():
                self.load(Provider).leave(actor)
            case NoteStanding():
                self.load(Provider).note_standing(command)
            case BindGpu(device=device):
                machine = self.load(Machine)
                machine.bind(device, self._provider(machine.device))
            case DeclareOffer():
                provider = self.read(Provider, f"providers/provider/{command.device}")
                model = self.read(Model, f"providers/model/{command.model}")
                self.load(Offer).declare(command, actor=actor, provider=provider, model=model)
            case WithdrawOffer():
                self.load(Offer).withdraw(actor)
            case SuspendOffer():
                self.load(Offer).suspend(command)
            case ReinstateOffer():
                self.load(Offer).reinstate(command)
            case ListModel():
                self.load(Model).list_it(command, self.asked.now)
            case DelistModel():
                self.load(Model).delist()
            case _:
                assert_never(command)

    def _provider(self, device: Did | None) -> Provider | None:
        return None if device is None else self.read(Provider, f"providers/provider/{device}")
