"""Servers for benchmarks: those that the settings name, else ones of our own that are gone afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops.local import kafka
from ops.local import postgres as local_postgres
from ops.settings import Settings


@contextmanager
def broker() -> Iterator[dict[str, Any]]:
    """aiokafka's options for a broker without any of our topics."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        address = kafka.start(home, settings=Settings())
        try:
            yield {"bootstrap_servers": address}
        finally:
            kafka.stop(home)


@contextmanager
def postgres() -> Iterator[Callable[[str], str]]:
    """Makes an empty database of that name: its URL."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        local_postgres.start(home, settings=Settings())
        try:
            yield lambda name: local_postgres.create_database(home, name)
        finally:
            local_postgres.remove(home)
