"""A bank and a chain without the money: real code behind the same ports, for tests and demonstrations.

They fail as the real ones do, by a seeded schedule or on demand, and may be kept in a file that several processes share.
"""

from adapters.bank.paper.bank import PaperBank
from adapters.bank.paper.chain import PaperChain
from adapters.bank.paper.faults import Fault, Faults

__all__ = ["Fault", "Faults", "PaperBank", "PaperChain"]
