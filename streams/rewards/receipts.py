"""Fees and claims as they come: each event of another context is one command here."""

from collections.abc import Iterator

from contracts import Amount, Event, Record
from contracts.inference import ReceiptSettled
from contracts.rewards import Reference, SplitFee, fee_stream, payee_of
from streams import Intent


def split_when_receipt_settles(event: Event, record: Record) -> Iterator[Intent]:
    """A settled receipt is divided (white paper 9.5); one that is disputed never comes here. Named by its request."""
    match event:
        case ReceiptSettled():
            payee = payee_of(event.payee)
            command = SplitFee(
                kind="inference", receipt=Reference(record.stream_id), price=Amount.of(event.asset, event.price),
                protocol_fee=event.protocol_fee, payee=payee, provider=event.provider, model=event.model,
                model_owner=payee_of(event.model_owner) if event.model_owner else None, prepaid=event.prepaid,
                epoch=event.epoch,
            )  # fmt: skip
            yield Intent(command, fee_stream("inference", payee, event.asset))
        case _:
            pass
