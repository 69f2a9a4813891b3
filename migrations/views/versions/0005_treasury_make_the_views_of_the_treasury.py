"""Make the views of the treasury."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0005_treasury"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "treasury_accounts",
        sa.Column("account", sa.String(length=140), nullable=False, comment="owner, dot, asset"),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("posted", MoneyColumn(length=78), nullable=False),
        sa.Column("held", MoneyColumn(length=78), nullable=False),
        sa.Column("frozen", MoneyColumn(length=78), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_index(op.f("ix_treasury_accounts_owner"), "treasury_accounts", ["owner"], unique=False)
    op.create_table(
        "treasury_adjustments",
        sa.Column("adjustment", sa.String(length=120), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.String(length=90), nullable=False),
        sa.Column("proposed", sa.String(length=30), nullable=False),
        sa.Column("approved_by", sa.String(length=90), nullable=True),
        sa.Column("approved", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("adjustment"),
    )
    op.create_table(
        "treasury_backings",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("received", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("written_down", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin", "reference"),
    )
    op.create_table(
        "treasury_breaks",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("break_id", sa.String(length=120), nullable=False),
        sa.Column("slot", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("found", sa.String(length=30), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.String(length=90), nullable=True),
        sa.Column("closed", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("coin", "break_id"),
    )
    op.create_table(
        "treasury_burns",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("withdrawal", sa.String(length=110), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("payout", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("transaction", sa.String(length=66), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin", "withdrawal"),
    )
    op.create_table(
        "treasury_coins",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("supply", MoneyColumn(length=78), nullable=False, comment="with the mints in flight"),
        sa.Column("in_flight", MoneyColumn(length=78), nullable=False),
        sa.Column("reserves", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("bank", MoneyColumn(length=78), nullable=False, comment="cents, as attested"),
        sa.Column("owed", MoneyColumn(length=78), nullable=False, comment="cents, as attested"),
        sa.Column("as_of", sa.String(length=30), nullable=True),
        sa.Column("statement", sa.String(length=64), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("pause_cause", sa.String(length=100), nullable=True),
        sa.Column("resume_approved_by", sa.String(length=90), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=False, comment="version of the stream"),
        sa.Column("turned", sa.String(length=30), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin"),
    )
    op.create_table(
        "treasury_deposits",
        sa.Column("deposit", sa.String(length=120), nullable=False),
        sa.Column("rail", sa.String(length=20), nullable=False),
        sa.Column("reference", sa.String(length=98), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="observed, settled, issued or closed"),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("amount", MoneyColumn(length=78), nullable=False, comment="cents, as all that follows"),
        sa.Column("net", MoneyColumn(length=78), nullable=False),
        sa.Column("fee", MoneyColumn(length=78), nullable=False),
        sa.Column("refunded", MoneyColumn(length=78), nullable=False),
        sa.Column("lost", MoneyColumn(length=78), nullable=False),
        sa.Column("left", sa.BigInteger(), nullable=False, comment="less than nothing where the rail's fee was lost too"),
        sa.Column("disputes_open", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("to", sa.String(length=42), nullable=True),
        sa.Column("booked_at", sa.String(length=30), nullable=False),
        sa.Column("value_date", sa.String(length=30), nullable=False),
        sa.Column("available_on", sa.String(length=30), nullable=True),
        sa.Column("issued", sa.String(length=200), nullable=True, comment="the mint's reference"),
        sa.Column("event", sa.String(length=36), nullable=False, comment="the last"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("deposit"),
    )
    op.create_index(op.f("ix_treasury_deposits_owner"), "treasury_deposits", ["owner"], unique=False)
    op.create_index(op.f("ix_treasury_deposits_state"), "treasury_deposits", ["state"], unique=False)
    op.create_table(
        "treasury_disputes",
        sa.Column("deposit", sa.String(length=120), nullable=False),
        sa.Column("dispute", sa.String(length=98), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="open, won or lost"),
        sa.Column("amount", MoneyColumn(length=78), nullable=False),
        sa.Column("issued", sa.Boolean(), nullable=False, comment="coins had been issued when it was lost"),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("deposit", "dispute"),
    )
    op.create_index(op.f("ix_treasury_disputes_state"), "treasury_disputes", ["state"], unique=False)
    op.create_table(
        "treasury_freezes",
        sa.Column("account", sa.String(length=140), nullable=False),
        sa.Column("cause", sa.String(length=200), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.Column("lifted", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("account", "cause"),
    )
    op.create_table(
        "treasury_holds",
        sa.Column("account", sa.String(length=140), nullable=False),
        sa.Column("hold", sa.String(length=120), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="open, captured, released or expired"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("captured", MoneyColumn(length=78), nullable=False),
        sa.Column("purpose", sa.String(length=300), nullable=False),
        sa.Column("expires_at", sa.String(length=30), nullable=False),
        sa.Column("counter", sa.String(length=200), nullable=True),
        sa.Column("held_by", sa.String(length=90), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False, comment="the Held"),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("account", "hold"),
    )
    op.create_index(op.f("ix_treasury_holds_purpose"), "treasury_holds", ["purpose"], unique=False)
    op.create_index(op.f("ix_treasury_holds_state"), "treasury_holds", ["state"], unique=False)
    op.create_table(
        "treasury_mint_burn_log",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the coin's stream"),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="minted, confirmed, failed or burned"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("actor", sa.String(length=90), nullable=False),
        sa.Column("transaction", sa.String(length=66), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("supply", MoneyColumn(length=78), nullable=False),
        sa.Column("reserves", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("prevhash", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin", "version"),
    )
    op.create_index(op.f("ix_treasury_mint_burn_log_at"), "treasury_mint_burn_log", ["at"], unique=False)
    op.create_table(
        "treasury_minters",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("minter", sa.String(length=90), nullable=False),
        sa.Column("allowance", MoneyColumn(length=78), nullable=False, comment="what is left"),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("coin", "minter"),
    )
    op.create_table(
        "treasury_mints",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="in_flight, confirmed or failed"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("to", sa.String(length=42), nullable=False),
        sa.Column("minter", sa.String(length=90), nullable=False),
        sa.Column("transaction", sa.String(length=66), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False, comment="the last Minted"),
        sa.Column("minted", sa.String(length=30), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin", "reference"),
    )
    op.create_index(op.f("ix_treasury_mints_state"), "treasury_mints", ["state"], unique=False)
    op.create_table(
        "treasury_outflow",
        sa.Column("withdrawal", sa.String(length=120), nullable=False),
        sa.Column("usd_cents", sa.BigInteger(), nullable=False),
        sa.Column("reviewed", sa.Boolean(), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.Column("window_usd_cents", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.String(length=30), nullable=True),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("withdrawal"),
    )
    op.create_index(op.f("ix_treasury_outflow_at"), "treasury_outflow", ["at"], unique=False)
    op.create_table(
        "treasury_reconciliations",
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("slot", sa.String(length=80), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("bank", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("owed", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("evm_supply", MoneyColumn(length=78), nullable=False),
        sa.Column("native_supply", MoneyColumn(length=78), nullable=False, comment="4 decimals"),
        sa.Column("native_locked", MoneyColumn(length=78), nullable=False, comment="4 decimals"),
        sa.Column("in_flight", MoneyColumn(length=78), nullable=False),
        sa.Column("books_supply", MoneyColumn(length=78), nullable=False),
        sa.Column("surplus", MoneyColumn(length=78), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("coin", "slot"),
    )
    op.create_index(op.f("ix_treasury_reconciliations_at"), "treasury_reconciliations", ["at"], unique=False)
    op.create_table(
        "treasury_refunds",
        sa.Column("deposit", sa.String(length=120), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("amount", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("settled", sa.Boolean(), nullable=False, comment="the bank had booked the deposit"),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("deposit", "reference"),
    )
    op.create_table(
        "treasury_reviews",
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("withdrawal", sa.String(length=120), nullable=False),
        sa.Column("verdict", sa.String(length=7), nullable=False),
        sa.Column("reviewed_by", sa.String(length=90), nullable=False),
        sa.Column("person", sa.String(length=90), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("event"),
    )
    op.create_index(op.f("ix_treasury_reviews_withdrawal"), "treasury_reviews", ["withdrawal"], unique=False)
    op.create_table(
        "treasury_withdrawals",
        sa.Column("withdrawal", sa.String(length=120), nullable=False),
        sa.Column("account", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("coin", sa.String(length=30), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("payout", MoneyColumn(length=78), nullable=False, comment="cents"),
        sa.Column("destination", sa.Text(), nullable=False, comment="sealed, JSON"),
        sa.Column("command", sa.String(length=36), nullable=False, comment="that the destination is sealed for"),
        sa.Column("destination_digest", sa.String(length=64), nullable=False),
        sa.Column("requested_by", sa.String(length=90), nullable=False),
        sa.Column("requested", sa.String(length=30), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=True),
        sa.Column("escrow", sa.String(length=66), nullable=True, comment="its transaction"),
        sa.Column("escrowed", sa.String(length=30), nullable=True),
        sa.Column("usd_cents", sa.BigInteger(), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("route", sa.String(length=10), nullable=True),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("review_since", sa.String(length=30), nullable=True),
        sa.Column("rail", sa.String(length=20), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=True, comment="under which the bank is told"),
        sa.Column("bank_reference", sa.String(length=98), nullable=True),
        sa.Column("returned", sa.String(length=30), nullable=True),
        sa.Column("return_reason", sa.String(length=100), nullable=True),
        sa.Column("may_retry", sa.Boolean(), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False, comment="the last"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("withdrawal"),
    )
    op.create_index(op.f("ix_treasury_withdrawals_account"), "treasury_withdrawals", ["account"], unique=False)
    op.create_index(
        op.f("ix_treasury_withdrawals_destination_digest"), "treasury_withdrawals", ["destination_digest"], unique=False
    )
    op.create_index(op.f("ix_treasury_withdrawals_state"), "treasury_withdrawals", ["state"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_treasury_withdrawals_state"), table_name="treasury_withdrawals")
    op.drop_index(op.f("ix_treasury_withdrawals_destination_digest"), table_name="treasury_withdrawals")
    op.drop_index(op.f("ix_treasury_withdrawals_account"), table_name="treasury_withdrawals")
    op.drop_table("treasury_withdrawals")
    op.drop_index(op.f("ix_treasury_reviews_withdrawal"), table_name="treasury_reviews")
    op.drop_table("treasury_reviews")
    op.drop_table("treasury_refunds")
    op.drop_index(op.f("ix_treasury_reconciliations_at"), table_name="treasury_reconciliations")
    op.drop_table("treasury_reconciliations")
    op.drop_index(op.f("ix_treasury_outflow_at"), table_name="treasury_outflow")
    op.drop_table("treasury_outflow")
    op.drop_index(op.f("ix_treasury_mints_state"), table_name="treasury_mints")
    op.drop_table("treasury_mints")
    op.drop_table("treasury_minters")
    op.drop_index(op.f("ix_treasury_mint_burn_log_at"), table_name="treasury_mint_burn_log")
    op.drop_table("treasury_mint_burn_log")
    op.drop_index(op.f("ix_treasury_holds_state"), table_name="treasury_holds")
    op.drop_index(op.f("ix_treasury_holds_purpose"), table_name="treasury_holds")
    op.drop_table("treasury_holds")
    op.drop_table("treasury_freezes")
    op.drop_index(op.f("ix_treasury_disputes_state"), table_name="treasury_disputes")
    op.drop_table("treasury_disputes")
    op.drop_index(op.f("ix_treasury_deposits_state"), table_name="treasury_deposits")
    op.drop_index(op.f("ix_treasury_deposits_owner"), table_name="treasury_deposits")
    op.drop_table("treasury_deposits")
    op.drop_table("treasury_coins")
    op.drop_table("treasury_burns")
    op.drop_table("treasury_breaks")
    op.drop_table("treasury_backings")
    op.drop_table("treasury_adjustments")
    op.drop_index(op.f("ix_treasury_accounts_owner"), table_name="treasury_accounts")
    op.drop_table("treasury_accounts")
