"""What was divided, minted, granted, paid and claimed, and what anybody can ask of it (white paper 9)."""

from projections import Projection
from projections.rewards.folding import project
from projections.rewards.queries import (
    OtherTable,
    buckets_at,
    claim_of,
    divided_of,
    earned_until,
    earnings_of,
    epoch_of,
    grants_at,
    split_of,
    supply_at,
    yield_of,
)
from projections.rewards.tables import TABLES

__all__ = [
    "OtherTable", "buckets_at", "claim_of", "divided_of", "earned_until", "earnings_of", "epoch_of", "grants_at", "rewards",
    "split_of", "supply_at", "yield_of",
]  # fmt: skip


def rewards() -> Projection:
    return Projection("rewards", ("rewards",), TABLES, project)
