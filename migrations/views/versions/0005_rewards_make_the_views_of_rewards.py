"""Make the views of rewards."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0005_rewards"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "rewards_allotments",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("bucket", sa.String(length=12), nullable=False),
        sa.Column("amount", MoneyColumn(length=78), nullable=False),
        sa.Column("issued", MoneyColumn(length=78), nullable=False),
        sa.Column("returned", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rewards_buckets",
        sa.Column("bucket", sa.String(length=12), nullable=False),
        sa.Column("share", MoneyColumn(length=78), nullable=False),
        sa.Column("issued", MoneyColumn(length=78), nullable=False),
        sa.Column("set_aside", MoneyColumn(length=78), nullable=False, comment="allotted to grants and not issued"),
        sa.PrimaryKeyConstraint("bucket"),
    )
    op.create_table(
        "rewards_burns",
        sa.Column("reference", sa.String(length=150), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("amount", MoneyColumn(length=78), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("reference"),
    )
    op.create_table(
        "rewards_claims",
        sa.Column("payee", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("cumulative", MoneyColumn(length=78), nullable=False),
        sa.Column("claimed", MoneyColumn(length=78), nullable=False),
        sa.Column("claimed_at", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("payee", "asset"),
    )
    op.create_table(
        "rewards_earned",
        sa.Column("payee", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("escrow", sa.String(length=80), nullable=False, comment="model and epoch of an escrow; else empty"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("payee", "asset", "source", "epoch", "escrow"),
    )
    op.create_index(op.f("ix_rewards_earned_epoch"), "rewards_earned", ["epoch"], unique=False)
    op.create_table(
        "rewards_earned_sums",
        sa.Column("payee", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False, comment="fee, model, oracle, stake or escrow"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("payee", "asset", "source"),
    )
    op.create_table(
        "rewards_emission",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("genesis_at", sa.String(length=30), nullable=True),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("base", MoneyColumn(length=78), nullable=False),
        sa.Column("minted_in_year", MoneyColumn(length=78), nullable=False),
        sa.Column("minted", MoneyColumn(length=78), nullable=False, comment="ever, into the rewards pool"),
        sa.Column("last_epoch", sa.Integer(), nullable=True),
        sa.Column("minted_until", sa.String(length=30), nullable=True),
        sa.Column("issued", MoneyColumn(length=78), nullable=False, comment="SPACE units (4 decimals)"),
        sa.Column("burned", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rewards_epochs",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="open, closed, published or confirmed"),
        sa.Column("start", sa.String(length=30), nullable=False),
        sa.Column("until", sa.String(length=30), nullable=False),
        sa.Column("pool", MoneyColumn(length=78), nullable=True),
        sa.Column("owed", MoneyColumn(length=78), nullable=True),
        sa.Column("positions", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.String(length=30), nullable=True),
        sa.Column("divided", sa.Boolean(), nullable=False),
        sa.Column("root", sa.String(length=66), nullable=True),
        sa.Column("totals", sa.Text(), nullable=True, comment="JSON object of assets"),
        sa.Column("claims", sa.BigInteger(), nullable=True),
        sa.Column("table_digest", sa.String(length=64), nullable=True),
        sa.Column("confirmed_by", sa.String(length=66), nullable=True, comment="transaction"),
        sa.Column("confirmed_in", sa.BigInteger(), nullable=True, comment="block"),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_index(op.f("ix_rewards_epochs_state"), "rewards_epochs", ["state"], unique=False)
    op.create_table(
        "rewards_fee_splits",
        sa.Column("fees", sa.String(length=120), nullable=False, comment="the stream's id: kind, payee and asset"),
        sa.Column("receipt", sa.String(length=150), nullable=False),
        sa.Column("payee", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("provider", sa.String(length=90), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=True),
        sa.Column("model_owner", sa.String(length=42), nullable=True, comment="null: in escrow"),
        sa.Column("prepaid", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("price", MoneyColumn(length=78), nullable=False),
        sa.Column("protocol_fee", MoneyColumn(length=78), nullable=False),
        sa.Column("provider_share", MoneyColumn(length=78), nullable=False),
        sa.Column("model_share", MoneyColumn(length=78), nullable=False),
        sa.Column("oracle_share", MoneyColumn(length=78), nullable=False),
        sa.Column("treasury_share", MoneyColumn(length=78), nullable=False, comment="without the protocol fee"),
        sa.Column("burn", MoneyColumn(length=78), nullable=False),
        sa.Column("buyback", MoneyColumn(length=78), nullable=False),
        sa.Column("kept", MoneyColumn(length=78), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("fees", "receipt"),
    )
    op.create_index(op.f("ix_rewards_fee_splits_provider"), "rewards_fee_splits", ["provider"], unique=False)
    op.create_index(op.f("ix_rewards_fee_splits_receipt"), "rewards_fee_splits", ["receipt"], unique=False)
    op.create_table(
        "rewards_fee_sums",
        sa.Column("fees", sa.String(length=120), nullable=False),
        sa.Column("payee", sa.String(length=90), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("provider_share", MoneyColumn(length=78), nullable=False),
        sa.Column("oracle_share", MoneyColumn(length=78), nullable=False),
        sa.Column("burn", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("fees"),
    )
    op.create_table(
        "rewards_fee_totals",
        sa.Column("fees", sa.String(length=120), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="inference, storage, vault or bundle"),
        sa.Column("payee", sa.String(length=90), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
        sa.Column("price", MoneyColumn(length=78), nullable=False),
        sa.Column("provider_share", MoneyColumn(length=78), nullable=False),
        sa.Column("oracle_share", MoneyColumn(length=78), nullable=False),
        sa.Column("burn", MoneyColumn(length=78), nullable=False),
        sa.Column("buyback", MoneyColumn(length=78), nullable=False),
        sa.Column("kept", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("fees", "epoch"),
    )
    op.create_index(op.f("ix_rewards_fee_totals_epoch"), "rewards_fee_totals", ["epoch"], unique=False)
    op.create_index(op.f("ix_rewards_fee_totals_payee"), "rewards_fee_totals", ["payee"], unique=False)
    op.create_table(
        "rewards_fees_taken",
        sa.Column("fees", sa.String(length=120), nullable=False),
        sa.Column("reference", sa.String(length=150), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("amount", MoneyColumn(length=78), nullable=False),
        sa.Column("burn", MoneyColumn(length=78), nullable=False),
        sa.Column("buyback", MoneyColumn(length=78), nullable=False),
        sa.Column("kept", MoneyColumn(length=78), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("fees", "reference"),
    )
    op.create_table(
        "rewards_grants",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("bucket", sa.String(length=12), nullable=False),
        sa.Column("beneficiary", sa.String(length=42), nullable=False),
        sa.Column("total", MoneyColumn(length=78), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="linear, cliff, milestone or immediate"),
        sa.Column("start", sa.String(length=30), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=False),
        sa.Column("cliff_seconds", sa.BigInteger(), nullable=False),
        sa.Column("milestones", sa.Text(), nullable=False, comment="JSON list of decimal strings"),
        sa.Column("reached", sa.Text(), nullable=False, comment="JSON list of milestones' numbers"),
        sa.Column("released", MoneyColumn(length=78), nullable=False),
        sa.Column("released_at", sa.String(length=30), nullable=True, comment="the last release"),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("returned", MoneyColumn(length=78), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rewards_lapsed",
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("model", "epoch", "asset"),
    )
    op.create_table(
        "rewards_model_sums",
        sa.Column("fees", sa.String(length=120), nullable=False),
        sa.Column("owner", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("fees", "owner"),
    )
    op.create_table(
        "rewards_model_totals",
        sa.Column("fees", sa.String(length=120), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("owner", sa.String(length=42), nullable=False, comment="empty: in escrow"),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("fees", "epoch", "model", "owner"),
    )
    op.create_index(op.f("ix_rewards_model_totals_epoch"), "rewards_model_totals", ["epoch"], unique=False)
    op.create_table(
        "rewards_models",
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("owner", sa.String(length=42), nullable=False),
        sa.Column("registered_at", sa.String(length=30), nullable=False, comment="when it first had an owner"),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_table(
        "rewards_oracle_pots",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("pot", MoneyColumn(length=78), nullable=False),
        sa.Column("carried", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "asset"),
    )
    op.create_table(
        "rewards_oracle_shares",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oracle", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "oracle", "asset"),
    )
    op.create_table(
        "rewards_paid",
        sa.Column("position", sa.String(length=120), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False, comment="that left the rewards pool"),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_table(
        "rewards_supply",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the emission's stream"),
        sa.Column("issued", MoneyColumn(length=78), nullable=False),
        sa.Column("burned", MoneyColumn(length=78), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_index(op.f("ix_rewards_supply_at"), "rewards_supply", ["at"], unique=False)
    op.create_table(
        "rewards_yields",
        sa.Column("position", sa.String(length=120), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stake", MoneyColumn(length=78), nullable=False),
        sa.Column("base_bp", sa.Integer(), nullable=False),
        sa.Column("multiplier", sa.Integer(), nullable=False, comment="hundredths"),
        sa.Column("inferences", sa.BigInteger(), nullable=False),
        sa.Column("owed", MoneyColumn(length=78), nullable=False),
        sa.Column("paid", MoneyColumn(length=78), nullable=True, comment="null until it is paid"),
        sa.Column("lapsed", MoneyColumn(length=78), nullable=True),
        sa.PrimaryKeyConstraint("position", "epoch"),
    )
    op.create_index(op.f("ix_rewards_yields_epoch"), "rewards_yields", ["epoch"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_rewards_yields_epoch"), table_name="rewards_yields")
    op.drop_table("rewards_yields")
    op.drop_index(op.f("ix_rewards_supply_at"), table_name="rewards_supply")
    op.drop_table("rewards_supply")
    op.drop_table("rewards_paid")
    op.drop_table("rewards_oracle_shares")
    op.drop_table("rewards_oracle_pots")
    op.drop_table("rewards_models")
    op.drop_index(op.f("ix_rewards_model_totals_epoch"), table_name="rewards_model_totals")
    op.drop_table("rewards_model_totals")
    op.drop_table("rewards_model_sums")
    op.drop_table("rewards_lapsed")
    op.drop_table("rewards_grants")
    op.drop_table("rewards_fees_taken")
    op.drop_index(op.f("ix_rewards_fee_totals_payee"), table_name="rewards_fee_totals")
    op.drop_index(op.f("ix_rewards_fee_totals_epoch"), table_name="rewards_fee_totals")
    op.drop_table("rewards_fee_totals")
    op.drop_table("rewards_fee_sums")
    op.drop_index(op.f("ix_rewards_fee_splits_receipt"), table_name="rewards_fee_splits")
    op.drop_index(op.f("ix_rewards_fee_splits_provider"), table_name="rewards_fee_splits")
    op.drop_table("rewards_fee_splits")
    op.drop_index(op.f("ix_rewards_epochs_state"), table_name="rewards_epochs")
    op.drop_table("rewards_epochs")
    op.drop_table("rewards_emission")
    op.drop_table("rewards_earned_sums")
    op.drop_index(op.f("ix_rewards_earned_epoch"), table_name="rewards_earned")
    op.drop_table("rewards_earned")
    op.drop_table("rewards_claims")
    op.drop_table("rewards_burns")
    op.drop_table("rewards_buckets")
    op.drop_table("rewards_allotments")
