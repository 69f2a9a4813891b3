"""Writers that fell asleep in the middle of a message, and hold their shards' rows.

PostgreSQL has no patience with a transaction that is idle, and all patience with half a message: before version 17 no
time-out of its own runs while it waits for the rest. So whoever waited for a row in vain looks who is to blame.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from adapters.sql.engine import IDLE_IN_TRANSACTION_SECONDS

log = logging.getLogger(__name__)

LOCK_NOT_AVAILABLE = "55P03"
# Of this store, by its user: another's sessions cannot be ended by us. A COPY waits for its client too, and touches no counter
# row; a statement that runs waits for something else than its client.
_ASLEEP = text("""
    select pg_terminate_backend(pid), pid from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
        and state = 'active' and wait_event_type = 'Client' and wait_event = 'ClientRead' and xact_start is not null
        and state_change < clock_timestamp() - make_interval(secs => :patience)
        and exists (
            select 1 from pg_locks held where held.pid = pg_stat_activity.pid and held.granted
                and held.locktype = 'relation' and held.relation = 'shards'::regclass
        )
""")


@contextmanager
def waking(engine: Engine) -> Iterator[None]:
    """What is done inside may wait for a row in vain: then whoever holds one in his sleep is ended, and it is tried again."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            end_sleepers(engine)
        raise


def end_sleepers(engine: Engine) -> int:
    """End the sessions that hold a counter row and have sent half a message for too long; how many they were."""
    with engine.begin() as connection:
        ended = connection.execute(_ASLEEP, {"patience": IDLE_IN_TRANSACTION_SECONDS}).all()
    for _, session in ended:
        log.warning("ended session %d, which held a shard and had sent half a message", session)
    return len(ended)
