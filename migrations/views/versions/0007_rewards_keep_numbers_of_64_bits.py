"""Keep numbers of 64 bits: the language's go to 2^53."""

from alembic import op

revision = "0007_rewards"
down_revision = "0006_rewards"

_NUMBERS = {
    "rewards_claim_logs": ("log",),
    "rewards_earned": ("epoch",),
    "rewards_emission": ("year", "last_epoch"),
    "rewards_epochs": ("epoch",),
    "rewards_fee_splits": ("epoch",),
    "rewards_fee_totals": ("epoch",),
    "rewards_fees_taken": ("epoch",),
    "rewards_lapsed": ("epoch",),
    "rewards_model_totals": ("epoch",),
    "rewards_oracle_pots": ("epoch",),
    "rewards_oracle_shares": ("epoch",),
    "rewards_yields": ("epoch", "base_bp", "multiplier"),
}


def upgrade() -> None:
    _change("bigint")


def downgrade() -> None:
    _change("integer")


def _change(kind: str) -> None:
    # SQLite's integers have 64 bits whatever they are called.
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _NUMBERS.items():
            changes = ", ".join(f"alter column {column} type {kind}" for column in columns)
            op.execute(f"alter table {table} {changes}")
