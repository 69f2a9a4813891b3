"""Compare text by bytes: `env.py` does so after every upgrade, for whatever tables there are by then."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
