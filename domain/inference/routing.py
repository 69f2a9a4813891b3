"""Which offer serves a request: `decide` as a pure function of table, request, policy, time and seed (white paper 5.2 to 5.4).

Two forms. `scan` looks at every offer of the model and names the reason of each rejection. `choose` walks an index that the
fold keeps, from the cheapest offer on, and stops when nothing further can matter. A property test holds their chains equal.
"""

from domain.inference.choosing import choose
from domain.inference.policy import POLICY_VERSION, Ask, Choice, Refusal, rejection, seed_of
from domain.inference.scanning import scan
from domain.inference.table import RoutingTable

__all__ = ["POLICY_VERSION", "Ask", "Choice", "Refusal", "RoutingTable", "choose", "decide", "rejection", "scan", "seed_of"]


def decide(table: RoutingTable, ask: Ask) -> Choice:
    """The decision of record: by index where the strategy allows, by scan otherwise; both say the same."""
    return choose(table, ask)
