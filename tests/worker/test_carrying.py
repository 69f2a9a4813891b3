"""A stake is what the treasury says it holds: the worker believes no other record, on both databases."""

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.keys import Signer
from adapters.sql import tables
from commands import Grant
from contracts import Amount, Command, Record, StreamName, parse_event
from contracts.staking import SPACE, Stake, collateral_stream
from contracts.treasury import AccountId, Credit, Held, HeldRecord, Hold, HoldId, LedgerAccount, OpenAccount, Purpose, Reference
from domain.identity.authority import WRITER
from tests.commands.carrying import Elsewhere, carrying
from tests.domain.staking import ACCOUNT
from tests.worker.world import FAR, GRANTS, START, Sent, World, signed, someone, stranger, writer

WALLET = "0x" + "a" * 40
STAKE = collateral_stream("stake", WALLET)
TREASURER, STAKER = someone(71), someone(72)
ROLES = (
    Grant(TREASURER.did, "treasury.process", "treasury/", FAR),
    Grant(TREASURER.did, "treasury.holder", "treasury/account/alice.", FAR),
    Grant(STAKER.did, "staking.process", "staking/", FAR),
)


@pytest.fixture
def towns(world: World) -> tuple[World, World]:
    """The treasury and staking, one store."""
    grants = (*GRANTS, *ROLES)
    world.store.plant(ROLES)
    return World(world.engine, "treasury", grants), World(world.engine, "staking", grants)


def done(town: World, command: Command, subject: str, by: Signer = TREASURER) -> Sent:
    sent = signed(command, subject, by)
    town.publish(sent)
    town.worker().work_all()
    return sent


def a_hold(treasury: World, units: int, purpose: str, hold: str = "h-1", account: StreamName = ACCOUNT) -> Record:
    """The record of what an account holds; it is opened and filled first, if need be."""
    asset = account.rpartition(".")[2]
    if not any(event["subject"] == account for event in treasury.events()):
        done(treasury, OpenAccount(owner=AccountId("alice"), asset=asset), account)  # type: ignore[arg-type]
        given = Credit(amount=Amount.of(asset, 10**12), counter=LedgerAccount("genesis:test"), reference=Reference("g"))
        done(treasury, given, account)
    said = Hold(
        hold=HoldId(hold), amount=Amount.of(asset, units), purpose=Purpose(purpose), expires_at=START + timedelta(hours=20)
    )  # fmt: skip
    assert treasury.refusal(done(treasury, said, account)) is None
    [found] = [event for event in treasury.events() if event["type"] == "treasury.Held" and event["data"]["hold"] == hold]
    return parse_event(found["_value"], [("signature", found["_signature"].encode())])


def staked(staking: World) -> list[dict[str, Any]]:
    return [event["data"] for event in staking.events() if event["type"] == "staking.Staked"]


def asked(staking: World, record: Record, stream: str = STAKE) -> str | None:
    """What the stake was refused as."""
    return staking.refusal(done(staking, carrying(record), stream, STAKER))


@pytest.mark.parametrize("role", ["treasury.gateway", "treasury.process"])
@pytest.mark.parametrize(
    ("purpose", "is_for_others"),
    [
        (f"stake:{STAKE}", False), ("bond:staking/case/x.proof.1", False), ("stake", False), ("a:b/c", False),
        ("request:inference/request/x", True), ("block", True),
    ],
)  # fmt: skip
def test_only_the_holder_sets_his_money_aside_for_a_stake_or_a_bond(
    towns: tuple[World, World], role: str, purpose: str, is_for_others: bool
) -> None:
    """A gateway's key made everybody's money the stake of whoever had it."""
    treasury, holder, other = towns[0], someone(73), someone(74)
    a_hold(treasury, 1, "block", hold="open")
    treasury.store.plant([Grant(other.did, role, "treasury/", FAR), Grant(holder.did, "treasury.holder", "treasury/", FAR)])
    said = Hold(
        hold=HoldId("h-2"), amount=Amount.of("SPACE", 7), purpose=Purpose(purpose), expires_at=START + timedelta(hours=20)
    )  # fmt: skip

    assert treasury.refusal(done(treasury, said, ACCOUNT, other)) == (None if is_for_others else "NotAllowed")
    assert treasury.refusal(done(treasury, said, ACCOUNT, holder)) is None


def test_a_stake_is_what_the_record_says_was_held_and_names_it_by_its_id(towns: tuple[World, World]) -> None:
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")

    assert [asked(staking, held), asked(staking, held)] == [None, None]

    [event] = staked(staking)
    assert (event["amount"], event["account"], event["hold"]) == (str(1_000 * SPACE), ACCOUNT, "h-1")
    assert event["cause"] == held.id
    assert b"eyJ" not in next(e["_value"] for e in staking.events() if e["type"] == "staking.Staked")


def test_what_is_held_for_another_stream_is_no_stake_of_this_one(towns: tuple[World, World]) -> None:
    treasury, staking = towns
    held = a_hold(treasury, 10_000 * SPACE, f"stake:{STAKE}")

    assert asked(staking, held, collateral_stream("stake", "0x" + "b" * 40)) == "NotHeld"
    assert asked(staking, held, collateral_stream("bond", "rack-7")) == "NotHeld"
    assert staked(staking) == []


def test_a_record_that_the_store_does_not_have_is_no_stake(towns: tuple[World, World]) -> None:
    """Signed by the writer himself, who may be whoever stole his key: what counts is what was appended."""
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")
    elsewhere = Elsewhere(writer=writer)
    said = Held.model_validate(held.document["data"])

    never = elsewhere.signed(said.model_copy(update={"amount": Amount.of("SPACE", 10**9)}), ACCOUNT, START)
    forged = elsewhere.signed(said, ACCOUNT, START, by=stranger)
    foreign = elsewhere.signed(said, ACCOUNT, START, network="mainnet")

    assert [asked(staking, record) for record in (never, forged, foreign)] == ["NotHeld"] * 3
    assert staked(staking) == []


def test_a_record_whose_writer_was_not_entitled_then_is_no_stake(towns: tuple[World, World]) -> None:
    """Its row is in the store, as somebody who has the database might put it there."""
    treasury, staking = towns
    said = Held.model_validate(a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}").document["data"])
    fake = Elsewhere(writer=stranger).signed(said, ACCOUNT, START)
    where = {"shard": treasury.store.shard("treasury", 0).id, "sequence": fake.sequence}
    events = tables.events
    with treasury.engine.begin() as connection:
        connection.execute(events.delete().where(events.c.shard == where["shard"], events.c.sequence == where["sequence"]))
        row = {"stream": "x", "version": 1, "type": fake.type, "value": fake.value, "signature": fake.signature}
        connection.execute(events.insert().values(**where, **row))

    assert asked(staking, fake) == "NotHeld"
    assert staked(staking) == []


@pytest.mark.parametrize("change", ["signature", "value", "padding"])
def test_another_byte_is_another_record(towns: tuple[World, World], change: str) -> None:
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")
    carried = HeldRecord.of(held.value, held.signature)
    other = {
        "signature": {"signature": HeldRecord.of(held.value, stranger.sign(held.value)).signature},
        "value": {"value": HeldRecord.of(held.value.replace(b'"h-1"', b'"h-2"'), held.signature).value},
        "padding": {"value": type(carried.value)(carried.value + "A")},
    }[change]

    sent = done(staking, Stake(held=carried.model_copy(update=other)), STAKE, STAKER)

    assert staking.refusal(sent) == "NotHeld"
    assert staking.outcome(sent)["data"]["refusal"]["field"] == "held"


def test_a_writer_that_has_ended_vouches_for_what_he_recorded_before(towns: tuple[World, World]) -> None:
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")
    assert not staking.store.is_entitled(STAKER.did, WRITER, ACCOUNT, START)

    assert staking.store.is_entitled(writer.did, WRITER, ACCOUNT, held.moment)
    assert asked(staking, held) is None


@pytest.mark.parametrize("sequence", ["9" * 20, "09" + "9" * 18, "\u0661" * 20, "-0000000000000000001", "00000000000000000_17"])
def test_a_place_that_cannot_be_harms_no_command_beside_it(towns: tuple[World, World], sequence: str) -> None:
    """No database has such a number: asked for all of a batch, it would have been the batch's misfortune."""
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")
    document = {**held.document, "sequence": sequence}
    value = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    fake = carrying(parse_event(value, [("signature", writer.sign(value).encode())]))
    nobodys, ours = signed(fake, STAKE, stranger), signed(fake, STAKE, STAKER)
    honest = signed(carrying(held), STAKE, STAKER)

    staking.publish(nobodys, ours, honest)
    staking.worker().work_all()

    assert [staking.refusal(sent) for sent in (nobodys, ours, honest)] == ["NotInRole", "NotHeld", None]


def test_a_source_that_is_no_key_is_not_verified(towns: tuple[World, World]) -> None:
    """Its base58 would be read for seconds."""
    treasury, staking = towns
    held = a_hold(treasury, 1_000 * SPACE, f"stake:{STAKE}")
    value = json.dumps({**held.document, "source": "did:key:z6Mk" + "1" * 30_000}, separators=(",", ":")).encode()
    sent = done(staking, carrying(parse_event(value, [("signature", writer.sign(value).encode())])), STAKE, STAKER)

    assert staking.refusal(sent) == "NotHeld"
    assert "source" in staking.outcome(sent)["data"]["refusal"]["text"]
