"""What every fork of tests/forks.py finds imported. Nothing here may start a thread: a fork would have its locks and not it."""

import gc
import threading
from importlib import import_module

for _name in (
    "adapters.audit.sequencer", "adapters.faust.group", "adapters.kafka.commands", "adapters.replay", "alembic.command",
    "ops.auditor", "ops.auditverify", "ops.checker", "ops.cli", "ops.dumps", "ops.moneychecker", "ops.serve", "ops.verifying",
    "ops.telemetry", "ops.worker.loop", "setproctitle", "uvloop", "tests.e2e.bugs", "tests.e2e.client",
    "aiohttp.web", "confluent_kafka.admin", "psycopg",
):  # fmt: skip
    import_module(_name)

assert threading.active_count() == 1, threading.enumerate()
# What is frozen is walked by no fork's collector, and so copied for none.
gc.collect()
gc.freeze()
