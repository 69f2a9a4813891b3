"""Providers' wiring: their events become the routing table in SQL, and each machine is bound to one device."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

from contracts import Country, Event, EventId, Record, StreamName, instant
from contracts.liveness import SLOT_SECONDS, SLOTS_PER_EPOCH, slot_at
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

    The bond is for one machine: whoever serves with another has none. Who never registered with staking keeps the standing
    that he has. What the manifest allows and what was attested stays.
    """
    epoch = slot_at(desk.now.timestamp()) // SLOTS_PER_EPOCH
    # A tier begins with an epoch.
    desk.wake_at(datetime.fromtimestamp((epoch + 1) * SLOTS_PER_EPOCH * SLOT_SECONDS, UTC))
    noted = standings(desk.connection)
    for said in bonded_devices(epoch, desk.connection):
        known = noted.get(said.device_key)
        if known is None:
            continue
        bonded = said.bonded and said.serial_hash == known.serial_hash
        if (known.tier, known.bonded, known.suspended) != (said.tier, bonded, said.suspended):
            yield _noting(said, bonded, known, epoch)


def _noting(said: Bonded, bonded: bool, known: ProviderStanding, epoch: int) -> Task:
    country = Country(known.attested_country) if known.attested_country else None
    attested = Attested(vram_mib=known.attested_vram_mib, country=country)
    command = NoteStanding(
        tier=said.tier, bonded=bonded, suspended=said.suspended, allowed=known.allowed,
        attested=None if attested == Attested() else attested, from_epoch=epoch, cause=EventId(said.event),
    )  # fmt: skip
    # A standing may come back to what it was: what it follows from is part of its name.
    follows = f"{said.since} {said.tier_event} {said.tier} {bonded} {said.suspended} {known.serial_hash}"
    key = f"{said.device_key}:{epoch}:{sha256(follows.encode()).hexdigest()[:32]}"
    stream = StreamName(f"providers/provider/{said.device_key}")
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
