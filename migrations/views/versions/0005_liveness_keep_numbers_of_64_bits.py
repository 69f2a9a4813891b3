"""Keep numbers of 64 bits: the language's go to 2^53."""

from alembic import op

revision = "0005_liveness"
down_revision = "0004"

_NUMBERS = {
    "liveness_beats": ("epoch", "beats"),
    "liveness_closed": ("epoch", "expected", "excused", "missed"),
    "liveness_excuses": ("epoch",),
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
