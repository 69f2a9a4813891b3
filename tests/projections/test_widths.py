"""Whatever the language allows, the views hold: no column is narrower than what may come to it."""

from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Integer, Table
from sqlalchemy.dialects import postgresql

from adapters.views.columns import form_of
from contracts import Command, Event, Record, id_type, languages
from projections import METADATA, MoneyColumn, Projection, Row
from tests.house.test_shape import projections
from tests.projections.largest import records

EVENTS = list(records())
POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


class Measuring:
    """A session in which each row exists, or none does; it notes what a column would refuse."""

    def __init__(self, *, exists: bool) -> None:
        self._exists = exists
        self.refused: set[str] = set()

    def get(self, table: Table, *key: Any) -> Row | None:
        return {**_row(table), **_keyed(table, key)} if self._exists else None

    def put(self, table: Table, row: Row) -> None:
        self._note(table, row)

    def change(self, table: Table, *key: Any, **values: Any) -> None:
        self._note(table, {**_keyed(table, key), **values})

    def delete(self, table: Table, *key: Any) -> None:
        pass

    def _note(self, table: Table, row: Row) -> None:
        for name, value in row.items():
            try:
                form_of(table.columns[name], POSTGRESQL)([value])
            except (ValueError, TypeError) as error:
                self.refused.add(f"{table.name}.{name}: {error}")


def _keyed(table: Table, key: tuple[Any, ...]) -> Row:
    return dict(zip((column.name for column in table.primary_key.columns), key, strict=True))


def _row(table: Table) -> dict[str, Any]:
    return {column.name: _nothing(column) for column in table.columns}


def _nothing(column: Column[Any]) -> Any:
    if isinstance(column.type, Boolean):
        return False
    return 0 if isinstance(column.type, Integer | BigInteger | MoneyColumn) else ""


def refused(projection: Projection, event: Event, record: Record) -> set[str] | None:
    """What the columns refuse of it; None where the stream is none of the event's, as the fold finds."""
    found: set[str] | None = None
    for exists in (False, True):
        session = Measuring(exists=exists)
        try:
            projection.fold(event, record, session)
        except Exception:
            continue
        found = (found or set()) | session.refused
    return found


@pytest.mark.parametrize("projection", projections, ids=lambda projection: projection.name)
def test_every_field_of_an_event_fits_into_the_columns_that_show_it(projection: Projection) -> None:
    """A column that is too narrow parks the streams of honest people."""
    found: dict[tuple[str, int], set[str]] = {}
    for event, choice, record in EVENTS:
        if event.wire.context in projection.contexts and (narrow := refused(projection, event, record)) is not None:
            # Which kind of stream is the event's its rules know: one of them it is.
            found[event.wire.type, choice] = found.get((event.wire.type, choice), narrow) & narrow

    assert {f"{name}: {column}" for (name, _), columns in found.items() for column in columns} == set()
    assert found


def test_no_number_of_a_view_has_less_than_64_bits() -> None:
    """The language's go to 2^53, and SQLite's have 64 in any case."""
    columns = [column for table in METADATA.tables.values() for column in table.columns]

    assert [
        str(column) for column in columns if isinstance(column.type, Integer) and not isinstance(column.type, BigInteger)
    ] == []


KEYS = {
    "identity/key": ["identity_keys.key", "identity_roles.given_in", "identity_ends.ended_in"],
    "custody/key": ["custody_keys.key"],
    "inference/request": [
        "inference_requests.request", "inference_attempts.request", "inference_receipts.request", "inference_decisions.request",
        "staking_refuted.request",
    ],
    "liveness/device": ["liveness_closed.device", "staking_uptimes.device_key"],
    "liveness/fleet": ["liveness_rejections.fleet"],
    "providers/offer": ["providers_offers.offer", "inference_terms.offer"],
    "providers/model": ["providers_models.model", "inference_owners.model"],
    "providers/provider": ["providers_providers.device"],
    "rewards/grant": ["rewards_grants.name"],
    "rewards/model": ["rewards_models.model", "rewards_lapsed.model"],
    "rewards/position": ["rewards_yields.position"],
    "staking/case": ["staking_cases.case", "staking_findings.case", "staking_answers.case"],
    "staking/serial": ["staking_claims.claim"],
    "staking/faucet": ["staking_faucet.address"],
    "staking/faucetday": ["staking_faucet_days.day"],
    "staking/space": ["staking_space_stakes.address"],
    "treasury/account": ["treasury_accounts.account", "treasury_holds.account"],
    "treasury/deposit": ["treasury_deposits.deposit"],
    "treasury/stablecoin": ["treasury_coins.coin", "treasury_mints.coin", "treasury_burns.coin", "treasury_minters.coin"],
    "treasury/reconciliation": ["treasury_reconciliations.coin", "treasury_breaks.coin"],
    "treasury/withdrawal": ["treasury_withdrawals.withdrawal"],
    "treasury/adjustment": ["treasury_adjustments.adjustment"],
}  # fmt: skip
"""Where a stream's id stands."""


@pytest.mark.parametrize("stream", KEYS)
def test_every_name_of_a_stream_fits_into_the_columns_that_show_it(stream: str) -> None:
    named = next(id_type(kind) for kind in languages() if issubclass(kind, Command) and kind.wire.stream == stream)
    # One part of a name has at most 120 characters.
    length = min(named.max_length, 120)
    columns = [METADATA.tables[table].columns[name] for table, _, name in (column.partition(".") for column in KEYS[stream])]

    assert [str(column) for column in columns if column.type.length < length] == []
