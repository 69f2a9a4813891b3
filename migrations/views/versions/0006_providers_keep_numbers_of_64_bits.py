"""Keep numbers of 64 bits: the language's go to 2^53."""

from alembic import op

revision = "0006_providers"
down_revision = "0005_providers"

_NUMBERS = {
    "providers_offers": ("max_concurrency",),
    "providers_providers": ("tier",),
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
