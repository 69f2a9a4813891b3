"""What a bill needs to know of an offer: its device, prices and weights, the device's wallet, the model's owner.

An offer's terms never change: who wants another price declares another offer. So they are kept when it is withdrawn too.
"""

from typing import assert_never

from sqlalchemy import Column, String, Table

from contracts import Record
from contracts.providers import (
    GpuBound,
    GpuContested,
    ModelDelisted,
    ModelListed,
    OfferDeclared,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    ProvidersEvent,
    StandingNoted,
)
from projections import METADATA, MoneyColumn, Projection, Session

terms = Table(
    "inference_terms",
    METADATA,
    Column("offer", String(80), primary_key=True),
    Column("device", String(90), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("prompt_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
    Column("completion_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
)

payees = Table(
    "inference_payees",
    METADATA,
    Column("device", String(90), primary_key=True),
    Column("wallet", String(42), nullable=False),
)

owners = Table(
    "inference_owners",
    METADATA,
    Column("model", String(60), primary_key=True),
    Column("owner", String(42), comment="null where the catalogue names none"),
)


def billing_terms() -> Projection:
    return Projection("billing_terms", ("providers",), (terms, payees, owners), project)


def project(event: ProvidersEvent, record: Record, session: Session) -> None:
    """A row an offer, device and model."""
    match event:
        case OfferDeclared():
            session.put(
                terms,
                {
                    "offer": record.stream_id, "device": event.device, "model_digest": event.model_digest,
                    "prompt_price": event.prompt_price, "completion_price": event.completion_price,
                },
            )  # fmt: skip
        case ProviderRegistered():
            session.put(payees, {"device": event.device, "wallet": event.wallet})
        case ModelListed():
            session.put(owners, {"model": record.stream_id, "owner": event.owner})
        case OfferWithdrawn() | OfferSuspended() | OfferReinstated() | ModelDelisted() | GpuBound() | GpuContested():
            pass
        case ProviderDraining() | ProviderResumed() | ProviderLeft() | StandingNoted():
            pass
        case _:
            assert_never(event)
