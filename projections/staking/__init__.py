"""What is at risk, who serves, who is accused of what, and what the faucet gave (white paper 5.4, 9.6)."""

from projections.staking.folding import staking
from projections.staking.refuted import refuted_receipts
from projections.staking.uptime import downtime

__all__ = ["downtime", "refuted_receipts", "staking"]
