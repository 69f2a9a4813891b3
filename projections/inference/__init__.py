"""Requests for reading: why each went where it went, what was observed, claimed and settled, and who earned what."""

from projections.inference.decisions import Explanation, Looked, decision_log, decisions, explain, most_chosen
from projections.inference.due import Overdue, Payment, Settlement, lost, next_late, payments_of, to_settle, unreceived
from projections.inference.earnings import Earned, earned_on, earnings_of, provider_earnings
from projections.inference.receipts import (
    Claimed,
    Invoiced,
    Observed,
    Settled,
    observed_claimed_settled,
    open_requests,
    receipt_book,
    when_it_ended,
)
from projections.inference.terms import billing_terms

__all__ = [
    "Claimed", "Earned", "Explanation", "Invoiced", "Looked", "Observed", "Overdue", "Payment", "Settled", "Settlement",
    "billing_terms", "decision_log", "decisions", "earned_on", "earnings_of", "explain", "lost", "most_chosen", "next_late",
    "observed_claimed_settled", "open_requests", "payments_of", "provider_earnings", "receipt_book", "to_settle",
    "unreceived", "when_it_ended",
]  # fmt: skip
