"""Fees as they come: what another context says was paid is divided here."""

from collections.abc import Iterator

from contracts import Amount, Event, Record
from contracts.inference import ReceiptPaid
from contracts.rewards import Reference, SplitFee, fee_stream, payee_of
from streams import Intent


def split_when_receipt_is_paid(event: Event, record: Record) -> Iterator[Intent]:
    """A receipt whose bill was captured is divided (white paper 9.5), named by its request.

    One that is disputed, unsettled or not paid in full never comes here: nothing is paid that was not first received.
    """
    match event:
        case ReceiptPaid(price=price) if price:
            payee = payee_of(event.payee)
            command = SplitFee(
                kind="inference", receipt=Reference(record.stream_id), price=Amount.of(event.asset, price),
                protocol_fee=event.protocol_fee, payee=payee, provider=event.provider, model=event.model,
                model_owner=payee_of(event.model_owner) if event.model_owner else None, prepaid=event.prepaid,
                epoch=event.epoch,
            )  # fmt: skip
            yield Intent(command, fee_stream("inference", payee, event.asset))
        case _:
            pass
