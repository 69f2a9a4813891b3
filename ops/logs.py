"""Logs: one line each, with the process's name; a library that repeats itself is heard once in a while."""

import logging
import sys
import time

REPEAT_SECONDS = 10.0


class _Rarely(logging.Filter):
    """Lets a message through once in REPEAT_SECONDS: a broker that is away once cost 171,549 lines and a core."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, record.lineno), time.monotonic()
        if now - self._said.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._said[key] = now
        return True


def configure(process: str, level: str = "INFO") -> None:
    """Log to standard error; a supervisor keeps it in a file."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {process} %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    rarely = _Rarely()
    for name in ("aiokafka", "faust", "mode", "alembic", "kafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A logger's filters do not see its children's records; the handler's do.
    handler.addFilter(lambda record: rarely.filter(record) if record.name.partition(".")[0] in {"aiokafka", "mode"} else True)
