"""Faust, in the only place that names it: groups, rebalances and life cycle are Faust's, positions and order are ours.

An agent of stock Faust carries 10,000 events a second, acknowledges what failed and commits past gaps. So an agent here
receives chunks of up to 500 records of one partition, and begins after every rebalance where SQL says.
"""

from adapters.faust.group import Group, GroupFailed, Reader
from adapters.faust.watchdog import Lookout

__all__ = ["Group", "GroupFailed", "Lookout", "Reader"]
