"""Providers' wiring: their events become the routing table in SQL, and each machine is bound to one device."""

from collections.abc import Iterator

from contracts import Country, Event, EventId, Record, StreamName, instant
from contracts.liveness import SLOTS_PER_EPOCH, slot_at
from contracts.providers import Attested, BindGpu, GpuContested, NoteStanding, ProviderRegistered
from projections.providers import ProviderStanding, routing_table, standings
from projections.staking.due import Bonded, bonded_devices
from streams import Desk, Intent, Process, Stream, Task, TodoList, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield routing_table()
    yield TodoList("follow_stake", follow_stake, every_seconds=5)
    yield Process("bind_each_gpu_to_one_device", ("providers",), bind_each_gpu_to_one_device)


def follow_stake(desk: Desk) -> Iterator[Task]:
    """The router learns the tier of a provider's wallet, whether its bond is whole, and whether a case suspends it.

    Who never registered with staking keeps the standing that he has. What the manifest allows and what was attested stays.
    """
    epoch = slot_at(desk.now.timestamp()) // SLOTS_PER_EPOCH
    noted = standings(desk.connection)
    for said in bonded_devices(epoch, desk.connection):
        known = noted.get(said.device_key)
        wanted = (said.tier, said.bonded, said.suspended)
        if known is not None and (known.tier, known.bonded, known.suspended) != wanted:
            yield _noting(said, known, epoch)


def _noting(said: Bonded, known: ProviderStanding, epoch: int) -> Task:
    vram, country = known.attested_vram_mib, known.attested_country
    command = NoteStanding(
        tier=said.tier, bonded=said.bonded, suspended=said.suspended, allowed=known.allowed,
        attested=None if vram is None and country is None else Attested(vram_mib=vram, country=Country(country) if country else None),
        from_epoch=epoch, cause=EventId(said.event),
    )  # fmt: skip
    stream = StreamName(f"providers/provider/{said.device_key}")
    # A standing may come back to what it was: what it follows from is part of its name.
    key = f"{said.device_key}:{epoch}:{said.since}:{said.tier_event}:{said.tier}:{said.bonded}:{said.suspended}"
    return Task(command, stream, key, instant(said.since), EventId(said.event))


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
