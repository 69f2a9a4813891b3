"""Make the views of staking."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0005_staking"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "staking_answers",
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("person", sa.String(length=90), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("case", "person"),
    )
    op.create_table(
        "staking_bonds",
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("account", sa.String(length=250), nullable=False),
        sa.Column("hold", sa.String(length=120), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="posted, burned or returned"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("case", "account", "hold"),
    )
    op.create_index(op.f("ix_staking_bonds_state"), "staking_bonds", ["state"], unique=False)
    op.create_table(
        "staking_cases",
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("offence", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.String(length=10),
            nullable=False,
            comment="open, attested, disputed, upheld, appealed, voided, executed or lapsed",
        ),
        sa.Column("opened", sa.Text(), nullable=False, comment="JSON: staking.CaseOpened"),
        sa.Column("attested", sa.Text(), nullable=True, comment="JSON: staking.CaseAttested"),
        sa.Column("disputed", sa.Text(), nullable=True, comment="JSON: staking.Disputed"),
        sa.Column("resolved", sa.Text(), nullable=True, comment="JSON: staking.DisputeResolved"),
        sa.Column("appealed", sa.Text(), nullable=True, comment="JSON: staking.Appealed"),
        sa.Column("closed", sa.Text(), nullable=True, comment="JSON: staking.CaseExecuted or CaseVoided"),
        sa.Column("deadline", sa.String(length=30), nullable=True, comment="of the window that is open"),
        sa.Column("upholding", sa.Integer(), nullable=False, comment="council members who upheld it on appeal"),
        sa.Column("opened_at", sa.String(length=30), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("case"),
    )
    op.create_index(op.f("ix_staking_cases_state"), "staking_cases", ["state"], unique=False)
    op.create_index(op.f("ix_staking_cases_subject"), "staking_cases", ["subject"], unique=False)
    op.create_table(
        "staking_claims",
        sa.Column("claim", sa.String(length=64), nullable=False, comment="SHA-256 of a serial number or key"),
        sa.Column("device", sa.String(length=90), nullable=True),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("claim"),
    )
    op.create_index(op.f("ix_staking_claims_device"), "staking_claims", ["device"], unique=False)
    op.create_table(
        "staking_collateral",
        sa.Column("kind", sa.String(length=10), nullable=False, comment="stake, bond or oracle"),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("active", MoneyColumn(length=78), nullable=False),
        sa.Column("unbonding", MoneyColumn(length=78), nullable=False),
        sa.Column("held", MoneyColumn(length=78), nullable=False, comment="by cases; a part of active and unbonding"),
        sa.Column("withdrawn", MoneyColumn(length=78), nullable=False),
        sa.Column("slashed", MoneyColumn(length=78), nullable=False),
        sa.Column("tombstoned", sa.Boolean(), nullable=False),
        sa.Column("holding", sa.Text(), nullable=False, comment="JSON: every request and every hold"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject"),
    )
    op.create_table(
        "staking_devices",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("device_key", sa.String(length=90), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("serial_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False, comment="asked, registered, declined or deregistered"),
        sa.Column(
            "suspended_by", sa.String(length=120), nullable=True, comment="the case, as long as the owner has not resumed it"
        ),
        sa.Column("first_epoch", sa.Integer(), nullable=True, comment="the first one that counts"),
        sa.Column("cause", sa.String(length=100), nullable=True, comment="of a refusal"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_index(op.f("ix_staking_devices_device_key"), "staking_devices", ["device_key"], unique=False)
    op.create_index(op.f("ix_staking_devices_state"), "staking_devices", ["state"], unique=False)
    op.create_index(op.f("ix_staking_devices_wallet"), "staking_devices", ["wallet"], unique=False)
    op.create_table(
        "staking_epochs",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "seed", sa.String(length=64), nullable=False, comment="SHA-256 of the record that ended it: panels are drawn by it"
        ),
        sa.Column("excused_slots", sa.Text(), nullable=False, comment="JSON array"),
        sa.Column("ended_at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_table(
        "staking_faucet",
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("drips", sa.Integer(), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("next_at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_table(
        "staking_faucet_days",
        sa.Column("day", sa.String(length=20), nullable=False, comment="days since 1970-01-01 UTC"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("day"),
    )
    op.create_table(
        "staking_findings",
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("oracle", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.String(length=10), nullable=True),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("case", "oracle"),
    )
    op.create_table(
        "staking_fundings",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("account", sa.String(length=250), nullable=False),
        sa.Column("hold", sa.String(length=120), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "account", "hold"),
    )
    op.create_table(
        "staking_holds",
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="held, released or slashed"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("case", "kind", "subject"),
    )
    op.create_table(
        "staking_levels",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("active", MoneyColumn(length=78), nullable=False, comment="at the end of the epoch"),
        sa.Column("at_risk", MoneyColumn(length=78), nullable=False, comment="active and unbonding"),
        sa.Column("tombstoned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "epoch"),
    )
    op.create_table(
        "staking_space_stakes",
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("staked", MoneyColumn(length=78), nullable=False),
        sa.Column("unstaking", MoneyColumn(length=78), nullable=False),
        sa.Column("withdrawn", MoneyColumn(length=78), nullable=False),
        sa.Column("rewarded", MoneyColumn(length=78), nullable=False),
        sa.Column("funded", MoneyColumn(length=78), nullable=False, comment="into the pool of rewards"),
        sa.Column("accrued", MoneyColumn(length=78), nullable=False, comment="owed until `since`, paid or not"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_table(
        "staking_suspensions",
        sa.Column("device", sa.String(length=90), nullable=False),
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("device", "case"),
    )
    op.create_table(
        "staking_tiers",
        sa.Column("wallet", sa.String(length=90), nullable=False),
        sa.Column("from_epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tier", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("wallet", "from_epoch"),
    )
    op.create_table(
        "staking_tombstones",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("case", sa.String(length=120), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "key"),
    )
    op.create_index(op.f("ix_staking_tombstones_case"), "staking_tombstones", ["case"], unique=False)
    op.create_table(
        "staking_uptimes",
        sa.Column("device_key", sa.String(length=90), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_slot", sa.BigInteger(), nullable=False),
        sa.Column("end_slot", sa.BigInteger(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.String(length=64), nullable=False, comment="SHA-256 of the record that closed it"),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("closed_at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("device_key", "epoch"),
    )
    op.create_index(op.f("ix_staking_uptimes_epoch"), "staking_uptimes", ["epoch"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_staking_uptimes_epoch"), table_name="staking_uptimes")
    op.drop_table("staking_uptimes")
    op.drop_index(op.f("ix_staking_tombstones_case"), table_name="staking_tombstones")
    op.drop_table("staking_tombstones")
    op.drop_table("staking_tiers")
    op.drop_table("staking_suspensions")
    op.drop_table("staking_space_stakes")
    op.drop_table("staking_levels")
    op.drop_table("staking_holds")
    op.drop_table("staking_fundings")
    op.drop_table("staking_findings")
    op.drop_table("staking_faucet_days")
    op.drop_table("staking_faucet")
    op.drop_table("staking_epochs")
    op.drop_index(op.f("ix_staking_devices_wallet"), table_name="staking_devices")
    op.drop_index(op.f("ix_staking_devices_state"), table_name="staking_devices")
    op.drop_index(op.f("ix_staking_devices_device_key"), table_name="staking_devices")
    op.drop_table("staking_devices")
    op.drop_table("staking_collateral")
    op.drop_index(op.f("ix_staking_claims_device"), table_name="staking_claims")
    op.drop_table("staking_claims")
    op.drop_index(op.f("ix_staking_cases_subject"), table_name="staking_cases")
    op.drop_index(op.f("ix_staking_cases_state"), table_name="staking_cases")
    op.drop_table("staking_cases")
    op.drop_index(op.f("ix_staking_bonds_state"), table_name="staking_bonds")
    op.drop_table("staking_bonds")
    op.drop_table("staking_answers")
