"""Keep numbers of 64 bits: the language's go to 2^53."""

from alembic import op

revision = "0007_staking"
down_revision = "0006_staking"

_NUMBERS = {
    "staking_cases": ("epoch", "upholding"),
    "staking_devices": ("first_epoch",),
    "staking_epochs": ("epoch",),
    "staking_faucet": ("drips",),
    "staking_findings": ("missed",),
    "staking_levels": ("epoch",),
    "staking_refuted": ("number",),
    "staking_tiers": ("from_epoch",),
    "staking_uptimes": ("epoch", "missed"),
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
