"""Make the first contexts' views."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "identity_keys",
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("held_by", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=True),
        sa.Column("suspected_since", sa.String(length=30), nullable=True),
        sa.Column("successor", sa.String(length=90), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "identity_roles",
        sa.Column("given_in", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("role", sa.String(length=60), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("not_after", sa.String(length=30), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("given_in", "key", "role", "prefix"),
    )
    op.create_index(op.f("ix_identity_roles_key"), "identity_roles", ["key"], unique=False)
    op.create_table(
        "inference_decisions",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("decided_at", sa.String(length=30), nullable=False),
        sa.Column("as_of", sa.String(length=30), nullable=False, comment="the router's clock: staleness was judged by it"),
        sa.Column("router", sa.String(length=90), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("strategy", sa.String(length=12), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_tokens", sa.BigInteger(), nullable=False),
        sa.Column("chosen", sa.String(length=80), nullable=False),
        sa.Column(
            "cost",
            MoneyColumn(length=78),
            nullable=False,
            comment="USD.s units (18 decimals) for the whole request, at most",
        ),
        sa.Column("chain", sa.Text(), nullable=False, comment="JSON list of offers, in the order in which they are tried"),
        sa.Column("considered", sa.Text(), nullable=False, comment="JSON list of {offer, cost, reason?}"),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request"),
    )
    op.create_index(op.f("ix_inference_decisions_chosen"), "inference_decisions", ["chosen"], unique=False)
    op.create_index(op.f("ix_inference_decisions_decided_at"), "inference_decisions", ["decided_at"], unique=False)
    op.create_table(
        "liveness_beats",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("beats", sa.Integer(), nullable=False),
        sa.Column(
            "bitmap",
            sa.String(length=72),
            nullable=False,
            comment="a bit a slot in hexadecimal, the day's first slot the highest",
        ),
        sa.Column("last_received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch"),
    )
    op.create_table(
        "liveness_closed",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("excused", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("bitmap", sa.String(length=72), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("is_breach", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch"),
    )
    op.create_table(
        "liveness_excuses",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slots", sa.Text(), nullable=False, comment="numbers of the excused slots, with commas between them"),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_table(
        "liveness_rejections",
        sa.Column("fleet", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=100), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet", "reason"),
    )
    op.create_table(
        "providers_heard",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "providers_models",
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("context_tokens", sa.BigInteger(), nullable=False),
        sa.Column("min_vram_mib", sa.BigInteger(), nullable=False),
        sa.Column("early_until", sa.String(length=30), nullable=True),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_table(
        "providers_offers",
        sa.Column("offer", sa.String(length=80), nullable=False),
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("quantisation", sa.String(length=100), nullable=False),
        sa.Column("prompt_price", MoneyColumn(length=78), nullable=False, comment="USD.s units (18 decimals) a token"),
        sa.Column("completion_price", MoneyColumn(length=78), nullable=False, comment="USD.s units (18 decimals) a token"),
        sa.Column("context_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("race", sa.Boolean(), nullable=False),
        sa.Column("confidential", sa.String(length=8), nullable=False),
        sa.Column("capabilities", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("state", sa.String(length=12), nullable=False, comment="open, suspended or withdrawn"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("offer"),
    )
    op.create_index(op.f("ix_providers_offers_device"), "providers_offers", ["device"], unique=False)
    op.create_index(op.f("ix_providers_offers_model"), "providers_offers", ["model"], unique=False)
    op.create_table(
        "providers_providers",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("gpu", sa.String(length=100), nullable=False),
        sa.Column("vram_mib", sa.BigInteger(), nullable=False),
        sa.Column("attested_vram_mib", sa.BigInteger(), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("attested_country", sa.String(length=2), nullable=True),
        sa.Column("tier", sa.Integer(), nullable=False, comment="0 free, 1 basic, 2 pro, 3 enterprise"),
        sa.Column("bonded", sa.Boolean(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("allowed", sa.Text(), nullable=True, comment="JSON list of the manifest's models; null allows all"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )


def downgrade() -> None:
    op.drop_table("providers_providers")
    op.drop_index(op.f("ix_providers_offers_model"), table_name="providers_offers")
    op.drop_index(op.f("ix_providers_offers_device"), table_name="providers_offers")
    op.drop_table("providers_offers")
    op.drop_table("providers_models")
    op.drop_table("providers_heard")
    op.drop_table("liveness_rejections")
    op.drop_table("liveness_excuses")
    op.drop_table("liveness_closed")
    op.drop_table("liveness_beats")
    op.drop_index(op.f("ix_inference_decisions_decided_at"), table_name="inference_decisions")
    op.drop_index(op.f("ix_inference_decisions_chosen"), table_name="inference_decisions")
    op.drop_table("inference_decisions")
    op.drop_index(op.f("ix_identity_roles_key"), table_name="identity_roles")
    op.drop_table("identity_roles")
    op.drop_table("identity_keys")
