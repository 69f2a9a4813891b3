"""Fees and claims as they come: what another context or the chain says is one command here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contracts import Address, Amount, Event, Record
from contracts.inference import ReceiptPaid
from contracts.rewards import SPACE, ChainHash, Payee, RecordClaim, Reference, SplitFee, earner_stream, fee_stream, payee_of
from domain.rewards.claims import NATIVE_TOKEN
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


@dataclass(frozen=True, slots=True)
class ClaimLog:
    """`Claimed(account, token, amount)` of the contract, in a final block, and where it stands there."""

    account: Address
    token: Address
    amount: int
    transaction: ChainHash
    index: int


def claim_on_the_chain(log: ClaimLog, tokens: Mapping[str, Payee]) -> Intent | None:
    """What the contract paid is claimed; None of a token that is no asset of ours. Read again, it changes nothing."""
    assets = {NATIVE_TOKEN: SPACE, **{token: asset for asset, token in tokens.items()}}
    asset = assets.get(payee_of(log.token))
    if asset is None:
        return None
    command = RecordClaim(amount=Amount.of(asset, log.amount), transaction=log.transaction, log=log.index)
    return Intent(command, earner_stream(payee_of(log.account), asset))
