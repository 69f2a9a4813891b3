"""Staking's wiring: events become views, a breach a case, a case a hold and a slash; and money follows what was decided.

`put_a_dispute_to_the_vote` comes with governance: until then a process says what the vote decided. Of bad proofs only receipts
are accused here; an oracle that contradicts itself is accused by whoever has its two signatures.
"""

from collections.abc import Iterable, Iterator

from contracts import Amount, Event, EventId, Record, StreamName
from contracts.rewards import EMISSION, RecordBurn
from contracts.rewards import Reference as BurnReference
from contracts.staking import (
    BondPosted,
    CaseExecuted,
    CaseVoided,
    CountDrip,
    Dripped,
    PostedBond,
    Slashed,
    Staked,
    Withdrawn,
    clearing_account,
    due_account,
    faucet_day_stream,
)
from contracts.treasury import Capture, Credit, HoldId, Reference
from projections.staking import downtime, refuted_receipts, staking
from streams import Intent, Process, Stream, TodoList, World
from streams.staking.lists import (
    claim_before_admitting,
    execute_after_the_window,
    fund_a_stake,
    hold_when_attested,
    open_case_on_bad_proof,
    open_case_on_breach,
    release_when_void,
    return_the_bond,
    review_tiers,
)


def streams(world: World) -> Iterator[Stream]:
    del world
    yield staking()
    yield downtime()
    yield refuted_receipts()
    yield Process("move_what_was_staked", ("staking",), move_what_was_staked)
    yield Process("record_what_was_slashed", ("staking",), record_what_was_slashed)
    yield Process("count_drips", ("staking",), count_drips)
    yield TodoList("fund_a_stake", fund_a_stake)
    yield TodoList("claim_before_admitting", claim_before_admitting)
    yield TodoList("open_case_on_breach", open_case_on_breach, every_seconds=2)
    yield TodoList("open_case_on_bad_proof", open_case_on_bad_proof, every_seconds=2)
    yield TodoList("hold_when_attested", hold_when_attested)
    yield TodoList("execute_after_the_window", execute_after_the_window)
    yield TodoList("release_when_void", release_when_void)
    yield TodoList("review_tiers", review_tiers, every_seconds=5)
    yield TodoList("return_the_bond", return_the_bond, every_seconds=5)


def move_what_was_staked(event: Event, record: Record) -> Iterator[Intent]:
    """What became stake or bond is taken from its hold; what left is credited to the account that the event names."""
    match event:
        case Staked(hold=hold, account=account, amount=units) | BondPosted(hold=hold, account=account, amount=units):
            yield _capturing(hold, account, units, record)
        case Withdrawn(account=account, amount=units):
            yield _crediting(account, units, record, 0)
        case CaseVoided(returned=returned) | CaseExecuted(returned=returned):
            yield from _returning(returned, record)
        case _:
            pass


def record_what_was_slashed(event: Event, record: Record) -> Iterator[Intent]:
    """What is burned is counted where issuing is: slashes, and the bonds of lost disputes."""
    match event:
        case Slashed(amount=units):
            yield _burning(units, record)
        case CaseExecuted(burned=burned) if burned:
            yield _burning(sum(bond.units for bond in burned), record)
        case _:
            pass


def count_drips(event: Event, record: Record) -> Iterator[Intent]:
    match event:
        case Dripped(amount=units, day=day):
            yield Intent(CountDrip(drip=EventId(record.id), amount=units), faucet_day_stream(day))
        case _:
            pass


def _capturing(hold: HoldId, account: StreamName, units: int, record: Record) -> Intent:
    return Intent(Capture(hold=hold, amount=Amount.of("SPACE", units), counter=clearing_account(record.subject)), account)


def _crediting(account: StreamName, units: int, record: Record, ordinal: int) -> Intent:
    reference = Reference(f"{record.id}:{ordinal}")
    credit = Credit(amount=Amount.of("SPACE", units), counter=due_account(record.subject), reference=reference)
    return Intent(credit, account, ordinal)


def _returning(bonds: Iterable[PostedBond], record: Record) -> Iterator[Intent]:
    for ordinal, bond in enumerate(bonds):
        yield _crediting(bond.account, bond.units, record, ordinal)


def _burning(units: int, record: Record) -> Intent:
    return Intent(RecordBurn(amount=units, source="slash", reference=BurnReference(record.id)), EMISSION)
