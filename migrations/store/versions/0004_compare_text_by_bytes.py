"""Compare text by bytes: `env.py` does so after every upgrade, for whatever tables there are by then."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
