"""Make the views of operations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "operations_exports",
        sa.Column("run", sa.String(length=120), nullable=False),
        sa.Column("filter_digest", sa.String(length=64), nullable=False),
        sa.Column("cut", sa.Text(), nullable=False, comment="JSON object of shards"),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("log_size", sa.BigInteger(), nullable=False),
        sa.Column("with_values", sa.Boolean(), nullable=False),
        sa.Column("opened", sa.Boolean(), nullable=False, comment="what was sealed was opened"),
        sa.Column("purpose", sa.String(length=100), nullable=True),
        sa.Column("run_by", sa.String(length=90), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index(op.f("ix_operations_exports_run_by"), "operations_exports", ["run_by"], unique=False)
    op.create_table(
        "operations_parked",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("reader", sa.String(length=60), nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("shard", sa.String(length=250), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="parked, redriven or drained"),
        sa.Column("error_digest", sa.String(length=64), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "operations_runs",
        sa.Column("run", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=120), nullable=False, comment="a what-if's kind, or window"),
        sa.Column("what", sa.Text(), nullable=False, comment="JSON: parameters, or topic and function"),
        sa.Column("start", sa.Text(), nullable=False),
        sa.Column("end", sa.Text(), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False, comment="a window's: of its records"),
        sa.Column("result_digest", sa.String(length=64), nullable=True),
        sa.Column("run_by", sa.String(length=90), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index(op.f("ix_operations_runs_run_by"), "operations_runs", ["run_by"], unique=False)
    op.create_table(
        "operations_settings",
        sa.Column("network", sa.String(length=120), nullable=False),
        sa.Column("profile", sa.String(length=12), nullable=False),
        sa.Column("settings_digest", sa.String(length=64), nullable=False),
        sa.Column("code_digest", sa.String(length=64), nullable=False),
        sa.Column("declared_by", sa.String(length=90), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("network"),
    )
    op.create_table(
        "operations_versions",
        sa.Column("projection", sa.String(length=120), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="folding, live, kept, retired or abandoned"),
        sa.Column("code_digest", sa.String(length=64), nullable=False),
        sa.Column("cut", sa.Text(), nullable=False, comment="JSON object of shards: the mark, then where it was swapped in"),
        sa.Column("digest", sa.String(length=64), nullable=True, comment="of the rows, when it was swapped in"),
        sa.Column("meaning", sa.String(length=4), nullable=True, comment="same or new, against the version that it replaced"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("projection", "version"),
    )


def downgrade() -> None:
    op.drop_table("operations_versions")
    op.drop_table("operations_settings")
    op.drop_index(op.f("ix_operations_runs_run_by"), table_name="operations_runs")
    op.drop_table("operations_runs")
    op.drop_table("operations_parked")
    op.drop_index(op.f("ix_operations_exports_run_by"), table_name="operations_exports")
    op.drop_table("operations_exports")
