"""What other contexts' commands carry: the records of open holds that wait for one of their streams."""

from sqlalchemy import Connection, select

from contracts import Event, Record, Signature
from contracts.treasury import Captured, Held, HeldRecord, HoldExpired, Released
from projections import Projection, Session
from projections.treasury.tables import held_records


def holds_to_carry() -> Projection:
    """Each as it was signed, as long as the hold is open."""
    return Projection("holds_to_carry", ("treasury",), (held_records,), project)


def project(event: Event, record: Record, session: Session) -> None:
    """Holds alone have anything to be carried; nothing else of the treasury is looked at."""
    if isinstance(event, Held):
        # A stranger may have published our bytes first, with whatever he liked for a signature: nobody could carry that.
        if "/" in event.purpose and Signature.fits(record.signature):
            row = {"account": record.stream_id, "hold": event.hold, "event": record.id, "value": record.value.decode()}
            session.put(held_records, {**row, "signature": record.signature})
    elif isinstance(event, Captured | Released | HoldExpired) and session.get(held_records, record.stream_id, event.hold):
        session.delete(held_records, record.stream_id, event.hold)


def held_record(account: str, hold: str, connection: Connection) -> HeldRecord | None:
    """The hold's record, to be carried; None where the view does not have it yet."""
    same = (held_records.c.account == account) & (held_records.c.hold == hold)
    row = connection.execute(select(held_records.c.value, held_records.c.signature).where(same)).first()
    return None if row is None else HeldRecord.of(row.value.encode(), row.signature)
