"""Asking liveness: record beats, end a day, close a device's epoch."""

from typing import assert_never

from commands import Service
from contracts.liveness import CloseEpoch, ExcuseSlots, LivenessCommand, RecordHeartbeats, epoch_of, fleet_of
from domain.liveness import Day, Device, Fleet, day_stream


class Liveness(Service):
    """Heartbeats and epochs."""

    def handle(self, command: LivenessCommand) -> None:
        match command:
            case RecordHeartbeats(beats=beats):
                epochs = {epoch_of(beat.slot) for beat in beats}
                over = [epoch for epoch in epochs if self.read(Day, day_stream(epoch)).is_over]
                self.load(Fleet).collect(command, over)
            case ExcuseSlots():
                self.load(Day).excuse(command, self.asked.now)
            case CloseEpoch(epoch=epoch):
                fleet = self.read(Fleet, f"liveness/fleet/{fleet_of(self.asked.stream_id)}")
                self.load(Device).close(command, self.read(Day, day_stream(epoch)), fleet)
            case _:
                assert_never(command)
