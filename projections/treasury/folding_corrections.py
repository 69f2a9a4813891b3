"""Slots, breaks and corrections of the ledger."""

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from contracts import Record, Value
from contracts.treasury import (
    Adjusted,
    AdjustmentEvent,
    AdjustmentProposed,
    BreakClosed,
    BreakFound,
    Reconciled,
    ReconciliationEvent,
)
from projections import Session
from projections.treasury import tables


def fold_reconciliation(event: ReconciliationEvent, record: Record, session: Session) -> None:
    coin = record.stream_id
    match event:
        case Reconciled(slot=slot, block=block):
            named = ("bank", "owed", "evm_supply", "native_supply", "native_locked", "in_flight", "books_supply", "surplus")
            figures = {name: getattr(event, name).units for name in named}
            session.put(tables.reconciliations, {"coin": coin, "slot": slot, "block": block, **figures, "at": record.time})
        case BreakFound(break_id=name, slot=slot, kind=kind, amount=amount):
            row = {"coin": coin, "break_id": name, "slot": slot, "kind": kind, "units": amount.units, "found": record.time}
            session.put(tables.breaks, {**row, "explanation": None, "closed_by": None, "closed": None})
        case BreakClosed(break_id=name, explanation=explanation, closed_by=actor):
            closed = {"explanation": explanation, "closed_by": actor, "closed": record.time}
            session.change(tables.breaks, coin, name, **closed)
        case _:
            assert_never(event)


def fold_adjustment(event: AdjustmentEvent, record: Record, session: Session) -> None:
    match event:
        case AdjustmentProposed(lines=lines, reason=reason, proposed_by=actor):
            row = {"adjustment": record.stream_id, "lines": _json(lines), "reason": reason, "proposed_by": actor}
            session.put(
                tables.adjustments, {**row, "proposed": record.time, "approved_by": None, "approved": None}
            )  # fmt: skip
        case Adjusted(approved_by=actor):
            session.change(tables.adjustments, record.stream_id, approved_by=actor, approved=record.time)
        case _:
            assert_never(event)


def _json(values: Iterable[Any]) -> str:
    return orjson.dumps(
        [value.model_dump(mode="json") if isinstance(value, Value) else str(value) for value in values]
    ).decode()
