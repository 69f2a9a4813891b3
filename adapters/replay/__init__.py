"""The log read again: a projection as of a position, what changed between two of them, and which event did it.

Nothing here joins a group, writes a live table or a topic: records are read by explicit assignment (or from the audit log) up
to a cut, and folded into tables that are thrown away.
"""

from adapters.replay.cuts import BadPosition, Cut, parse_position
from adapters.replay.sources import RangeMissing, Source

__all__ = ["BadPosition", "Cut", "RangeMissing", "Source", "parse_position"]
