"""A day ends by itself: once what came late is in, and never because it was we who were deaf."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from adapters.keys import verify
from adapters.views.tables import positions
from commands.liveness import Liveness
from contracts import Label, rfc3339
from contracts.liveness import SLOTS_PER_EPOCH, Heartbeat, RecordHeartbeats, RejectedBeats, fleet_of
from domain.staking.arithmetic import starts
from projections.liveness import closed_in, presence_of, uptime
from streams import RawRecord, TodoList
from streams.liveness import collect, end_the_day
from tests.domain.given import did
from tests.domain.staking import TODAY
from tests.streams.test_staking import DEVICE, Village, a_beat
from tests.worker.world import NETWORK, resigned, signed, someone

FIRST = TODAY * SLOTS_PER_EPOCH
NEIGHBOURS = [did(f"neighbour {n}") for n in range(5)]
OVER = starts(TODAY + 1) + timedelta(seconds=600)


class Network:
    """What a collector may know of its deployment."""

    network, outside = NETWORK, None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        return verify(did, value, signature)


def heard(*moments: datetime) -> list[RawRecord]:
    """Heartbeats of a stranger's key that say when they were signed."""
    stranger, said = someone(77), Heartbeat(slot=5_000_000, seq=1, boot=Label("b"), load_percent=1)
    sent = [signed(said, f"liveness/device/{stranger.did}", stranger, time=moment) for moment in moments]
    return [RawRecord(0, n, each.key, each.value, each.headers, 5_000_000 * 300_000) for n, each in enumerate(sent)]


@pytest.mark.parametrize("year", [1, 1969])
def test_a_heartbeat_from_before_all_times_is_counted_as_malformed(year: int) -> None:
    """Anybody can sign one: it may neither stop the collector nor take anybody's beats along."""
    odd, good = datetime(year, 1, 1, tzinfo=UTC), datetime(2017, 7, 14, tzinfo=UTC)

    commands = [intent.command for intent in collect(heard(odd, good), Network())]

    told = [command for command in commands if isinstance(command, RecordHeartbeats)]
    assert [beat.sent_at_ms for command in told for beat in command.beats] == [int(good.timestamp() * 1000)]
    assert [reason for command in told for reason in command.rejected] == [RejectedBeats(reason=Label("malformed"), count=1)]


FIELDS = ["slot", "seq", "boot", "load_percent", "time", "id", "source", "subject", "type", "data"]
ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.just("9999-12-31T23:59:60Z")


@given(
    st.lists(st.tuples(st.sampled_from(FIELDS), ODD), max_size=3),
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.integers(-(2**63), 2**63 - 1),
)
def test_whatever_strangers_send_is_counted_and_never_parked(
    changes: list[tuple[str, object]], key: bytes, junk: bytes, timestamp: int
) -> None:
    """What a collector fails at is kept with its bytes until somebody looks: anybody could fill the views."""
    [good] = heard(datetime(2017, 7, 14, tzinfo=UTC))
    document = json.loads(good.value)
    for name, value in changes:
        (document["data"] if name in document["data"] else document)[name] = value
        if not isinstance(document["data"], dict):
            break
    odd = resigned(json.dumps(document).encode(), good.key.decode(), someone(77))
    records = [
        RawRecord(0, 0, key, odd.value, odd.headers, good.timestamp_ms),
        RawRecord(0, 1, good.key, junk, [("signature", junk)], 0),
        RawRecord(0, 2, good.key, odd.value, odd.headers, good.timestamp_ms),
        RawRecord(0, 3, good.key, good.value, good.headers, timestamp),
        good,
    ]

    told = [intent.command for intent in collect(records, Network())]

    counted = sum(reason.count for command in told if isinstance(command, RecordHeartbeats) for reason in command.rejected)
    assert 1 <= counted <= 4


class Neighbourhood(Village):
    """Liveness is in town, too: a device is registered, beats all day but in the first slots, and then it is night."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.services["liveness"] = Liveness(self.streams, lambda *_: True)
        self.wire(uptime(), TodoList("end_the_day", end_the_day))
        for device in (DEVICE, *NEIGHBOURS):
            self.stake("bond", device, 10**6)
            self.register(device, key=device, serial=device)
        self.oracles(3)

    def beats(self, missed: int) -> None:
        """Its neighbours beat all day: what everybody misses is nobody's fault."""
        self.now = starts(TODAY + 1)
        for device, first in ((DEVICE, FIRST + missed), *((neighbour, FIRST) for neighbour in NEIGHBOURS)):
            slots = range(first, FIRST + SLOTS_PER_EPOCH)
            for start in range(0, len(slots), 100):
                beats = tuple(a_beat(slot, device) for slot in slots[start : start + 100])
                self.ask(RecordHeartbeats(beats=beats, rejected=()), f"liveness/fleet/{fleet_of(device)}")

    def heard(self, moment: datetime) -> None:
        """The collector has read a record of that moment."""
        row = {"reader": "heartbeats", "shard": "liveness.heartbeats/0", "next": 9, "last_hash": "0" * 64, "offset": 9}
        with self.engine.begin() as connection:
            connection.execute(positions.delete().where(positions.c.reader == "heartbeats"))
            connection.execute(insert(positions).values(**row, last_time=rfc3339(moment), epoch=1, generation=0))

    def is_closed(self) -> bool:
        with self.views() as connection:
            return DEVICE in closed_in(TODAY, connection)


@pytest.fixture
def town(tmp_path: Path) -> Neighbourhood:
    found = Neighbourhood(tmp_path)
    found.beats(15)
    found.now = OVER
    return found


def test_a_day_is_closed_when_the_collector_is_past_it(town: Neighbourhood) -> None:
    """Of 288 slots fifteen were missed: that is a breach, and a case."""
    town.heard(OVER + timedelta(seconds=61))

    town.wait(seconds=90)

    assert town.is_closed()
    with town.views() as connection:
        assert presence_of(DEVICE, TODAY, connection).missed == 15
    assert town.state() == "open"


def test_a_collector_that_lags_keeps_the_day_open(town: Neighbourhood) -> None:
    town.heard(OVER)

    town.wait(hours=5)

    assert not town.is_closed()


def test_a_day_in_which_nobody_was_heard_is_not_held_against_anybody(tmp_path: Path) -> None:
    found = Neighbourhood(tmp_path)
    found.now = OVER

    found.wait(hours=5)

    assert not found.is_closed()


def test_a_day_is_closed_once(town: Neighbourhood) -> None:
    town.heard(OVER + timedelta(seconds=61))
    town.wait(seconds=90)
    town.sent.clear()

    town.wait(hours=1)

    assert town.names("liveness").count("EpochClosed") == 6
