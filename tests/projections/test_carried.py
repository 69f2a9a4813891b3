"""What commands carry is kept as it was signed, as long as it is of use, and nothing that nobody could carry."""

from pathlib import Path

import pytest
from sqlalchemy import select

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from contracts import Amount, Event, Record
from contracts.treasury import Captured, Held, HoldExpired, HoldId, LedgerAccount, Purpose, Released
from projections.treasury.carried import held_record, holds_to_carry
from projections.treasury.tables import held_records
from tests.commands.carrying import Elsewhere
from tests.databases import upgrade
from tests.domain.staking import ACCOUNT, NOON

SPACE = Amount.of("SPACE", 5)
STAKE = Purpose("stake:staking/collateral/bond/rack-7")
ALICE = "alice.SPACE"


class Shard:
    """The treasury's records, as a reader is given them."""

    def __init__(self, path: Path) -> None:
        self.elsewhere, self.engine, self.read = Elsewhere(), engine_for(f"sqlite:///{path}/views.db"), 0
        upgrade(self.engine, "views")
        self.projector = Projector(self.engine, holds_to_carry())
        self.projector.claim(["treasury.events/0"])

    def tell(self, event: Event, signature: str | None = None) -> Record:
        record = self.elsewhere.record(event, ACCOUNT, NOON)
        said = record.signature if signature is None else signature
        self.projector.apply({"treasury.events/0": [Published(self.read, self.read, record.value, said)]})
        self.read += 1
        return record

    def kept(self) -> int:
        with reading(self.engine) as connection:
            return len(connection.execute(select(held_records.c.hold)).all())


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path)


def held(purpose: str = STAKE) -> Held:
    return Held(hold=HoldId("h-1"), amount=SPACE, purpose=Purpose(purpose), expires_at=NOON)


def test_an_open_hold_is_carried_as_it_was_signed(shard: Shard) -> None:
    record = shard.tell(held())

    with reading(shard.engine) as connection:
        found, other = held_record(ALICE, "h-1", connection), held_record(ALICE, "h-2", connection)

    assert found is not None
    assert (found.record().value, found.signature, other) == (record.value, record.signature, None)


@pytest.mark.parametrize(
    "end",
    [
        Captured(
            hold=HoldId("h-1"), amount=SPACE, counter=LedgerAccount("due:x"), returned=Amount.of("SPACE", 0), purpose=STAKE
        ),
        Released(hold=HoldId("h-1"), purpose=STAKE),
        HoldExpired(hold=HoldId("h-1"), purpose=STAKE),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_hold_that_has_ended_is_carried_by_nobody(shard: Shard, end: Event) -> None:
    shard.tell(held())
    assert shard.kept() == 1

    shard.tell(end)

    assert shard.kept() == 0


@pytest.mark.parametrize("purpose", ["block", "rent"])
def test_what_waits_for_no_stream_is_not_kept(shard: Shard, purpose: str) -> None:
    shard.tell(held(purpose))

    assert shard.kept() == 0


@pytest.mark.parametrize("signature", ["", "x", "ed25519:short", "ed25519:" + "!" * 86])
def test_a_signature_that_is_none_keeps_no_list_from_planning(shard: Shard, signature: str) -> None:
    """A stranger may have published our bytes first: read by the list, it would have ended the plan of every stake."""
    shard.tell(held(), signature)

    with reading(shard.engine) as connection:
        assert held_record(ALICE, "h-1", connection) is None
