"""Providers' wiring: their events become the routing table in SQL, and each machine is bound to one device."""

from collections.abc import Iterator

from contracts import Event, EventId, Record, StreamName
from contracts.liveness import SLOTS_PER_EPOCH, slot_at
from contracts.providers import BindGpu, GpuContested, NoteStanding, ProviderRegistered
from projections.providers import routing_table
from streams import Intent, Process, Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield routing_table()
    yield Process("bind_each_gpu_to_one_device", ("providers",), bind_each_gpu_to_one_device)


def bind_each_gpu_to_one_device(event: Event, record: Record) -> Iterator[Intent]:
    """Who registers is bound to his machine; who registers with a machine of another device has no bond for it.

    A registration sees who has the machine; only two that come at once get this far.
    """
    match event:
        case ProviderRegistered(device=device, gpu=gpu):
            yield Intent(BindGpu(device=device), f"providers/gpu/{gpu.serial_hash}")
        case GpuContested(device=device):
            unbonded = NoteStanding(
                tier="free", bonded=False, suspended=False,
                from_epoch=slot_at(record.moment.timestamp()) // SLOTS_PER_EPOCH, cause=EventId(record.id),
            )  # fmt: skip
            yield Intent(unbonded, StreamName(f"providers/provider/{device}"))
        case _:
            pass
