"""Keep numbers of 64 bits: the language's go to 2^53. What is left of a deposit is an amount, with the digits of one."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0007_treasury"
down_revision = "0006_treasury"

_NUMBERS = {
    "treasury_deposits": ("disputes_open",),
    "treasury_mints": ("failures",),
    "treasury_withdrawals": ("approvals", "attempt"),
}


def upgrade() -> None:
    _change("bigint")
    with op.batch_alter_table("treasury_deposits") as table:
        table.alter_column("left", type_=MoneyColumn(), existing_type=sa.BigInteger(), existing_nullable=False)
    if op.get_bind().dialect.name == "sqlite":
        op.execute('update treasury_deposits set "left" = printf(\'%078d\', cast("left" as integer))')


def downgrade() -> None:
    with op.batch_alter_table("treasury_deposits") as table:
        table.alter_column("left", type_=sa.BigInteger(), existing_type=MoneyColumn(), existing_nullable=False)
    _change("integer")


def _change(kind: str) -> None:
    # SQLite's integers have 64 bits whatever they are called.
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _NUMBERS.items():
            changes = ", ".join(f"alter column {column} type {kind}" for column in columns)
            op.execute(f"alter table {table} {changes}")
