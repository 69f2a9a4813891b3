"""Make the views of inference: the receipt book, earnings, and the terms by which is settled."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0005_inference"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "inference_attempts",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offer", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False, comment="running, completed, failed or cancelled"),
        sa.Column("cause", sa.String(length=20), nullable=True, comment="of its failure or cancellation"),
        sa.Column("delivered_bytes", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False, comment="as the router counted"),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False, comment="as the router counted"),
        sa.Column("method", sa.String(length=12), nullable=True),
        sa.Column("first_token_ms", sa.BigInteger(), nullable=True),
        sa.Column("response_hash", sa.String(length=64), nullable=True),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("request", "number"),
    )
    op.create_table(
        "inference_earnings",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("payee", sa.String(length=42), nullable=False, comment="in lower case"),
        sa.Column("day", sa.String(length=10), nullable=False, comment="UTC, on which the answer ended"),
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("price", MoneyColumn(), nullable=False, comment="units of the asset"),
        sa.Column("protocol_fee", MoneyColumn(), nullable=False, comment="units of the asset, on top of the price"),
        sa.Column("is_paid", sa.Boolean(), nullable=False, comment="from a hold; else it was recorded only"),
        sa.PrimaryKeyConstraint("request"),
    )
    op.create_index(op.f("ix_inference_earnings_day"), "inference_earnings", ["day"], unique=False)
    op.create_index(op.f("ix_inference_earnings_payee"), "inference_earnings", ["payee"], unique=False)
    op.create_table(
        "inference_owners",
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("owner", sa.String(length=42), nullable=True, comment="null where the catalogue names none"),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_table(
        "inference_payees",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "inference_receipts",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("device", sa.String(length=90), nullable=False, comment="who signed it"),
        sa.Column("state", sa.String(length=12), nullable=False, comment="matched, disputed, resolved or refuted"),
        sa.Column("stands", sa.Boolean(), nullable=False, comment="it matched or was resolved, and was not refuted"),
        sa.Column("cause", sa.String(length=20), nullable=True, comment="of the dispute"),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False, comment="claimed"),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False, comment="claimed"),
        sa.Column("resolved_prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("resolved_completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.String(length=64), nullable=True),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("request", "number", "device"),
    )
    op.create_table(
        "inference_requests",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("cause", sa.String(length=12), nullable=True, comment="why it was closed"),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("router", sa.String(length=90), nullable=False),
        sa.Column("opened_at", sa.String(length=30), nullable=False),
        sa.Column("lost_at", sa.String(length=30), nullable=False, comment="without an end by then its router is lost"),
        sa.Column("running", sa.Integer(), nullable=False, comment="attempts"),
        sa.Column("winner", sa.Integer(), nullable=True, comment="number of the attempt that delivered"),
        sa.Column("offer", sa.String(length=80), nullable=True, comment="of the winner"),
        sa.Column(
            "ended_at",
            sa.String(length=30),
            nullable=True,
            comment="of the winner; as long as there is none, of the last attempt",
        ),
        sa.Column("receipt_until", sa.String(length=30), nullable=True),
        sa.Column("account", sa.String(length=100), nullable=True),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("hold", sa.String(length=120), nullable=True),
        sa.Column("held", MoneyColumn(), nullable=True, comment="units of the asset"),
        sa.Column("device", sa.String(length=90), nullable=True, comment="whose receipt was settled"),
        sa.Column("payee", sa.String(length=42), nullable=True),
        sa.Column("model_owner", sa.String(length=42), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True, comment="settled"),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True, comment="settled"),
        sa.Column("price", MoneyColumn(), nullable=True, comment="units of the asset"),
        sa.Column("protocol_fee", MoneyColumn(), nullable=True, comment="units of the asset, on top of the price"),
        sa.Column("settled_at", sa.String(length=30), nullable=True),
        sa.Column("paid_from", sa.String(length=120), nullable=True, comment="the hold that is captured for it"),
        sa.PrimaryKeyConstraint("request"),
    )
    op.create_index(op.f("ix_inference_requests_state"), "inference_requests", ["state"], unique=False)
    op.create_table(
        "inference_terms",
        sa.Column("offer", sa.String(length=80), nullable=False),
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("prompt_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
        sa.Column("completion_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
        sa.PrimaryKeyConstraint("offer"),
    )
