"""Asking liveness: record beats, end a day, close a device's epoch."""

from typing import assert_never

from commands import Service
from contracts.liveness import CloseEpoch, ExcuseSlots, Heartbeat, LivenessCommand, RecordHeartbeats, epoch_of, fleet_of
from domain.liveness import Day, Device, Fleet, day_stream


class Liveness(Service):
    """Heartbeats and epochs."""

    def handle(self, command: LivenessCommand) -> None:
        match command:
            case RecordHeartbeats(beats=beats):
                epochs = {epoch_of(beat.slot) for beat in beats}
                over = [epoch for epoch in epochs if self.read(Day, day_stream(epoch)).is_over]
                self.load(Fleet).collect(command, over, self._is_registered)
            case ExcuseSlots():
                self.load(Day).excuse(command, self.asked.now)
            case CloseEpoch(epoch=epoch):
                fleet = self.read(Fleet, f"liveness/fleet/{fleet_of(self.asked.stream_id)}")
                self.load(Device).close(command, self.read(Day, day_stream(epoch)), fleet)
            case _:
                assert_never(command)

    def _is_registered(self, device: str) -> bool:
        """Whether the device's key may speak for it as a provider, who alone is expected to beat."""
        return any(self.asked.may(device, role, f"providers/provider/{device}") for role in Heartbeat.wire.roles)
