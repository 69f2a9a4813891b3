"""Works off to-do lists: plan from the views, send what is due, remember what was refused.

Nothing is remembered of what was sent but in memory: whoever starts again plans again, sends the same commands with the
same ids, and hears the same outcomes. A command whose effect the views do not show yet is sent again after a while.

A list is planned when there is a cause: a reader has moved whose tables its last plan read, a time has come that it named,
something of its own was refused, an errand is to be asked again, or its lease changed hands. What it read is taken from the
statements themselves, so no list can forget to name it.
"""

from adapters.views.todo.leases import LEASE_SECONDS
from adapters.views.todo.lists import LOOK_SECONDS, Lists
from adapters.views.todo.runner import AGAIN_SECONDS, MOST, REST_SECONDS, Listing, Planned
from adapters.views.todo.watching import Unwatched

__all__ = [
    "AGAIN_SECONDS", "LEASE_SECONDS", "LOOK_SECONDS", "MOST", "REST_SECONDS", "Listing", "Lists", "Planned", "Unwatched",
]  # fmt: skip
