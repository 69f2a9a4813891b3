"""A broker for benchmarks: the one that the settings name, else one of our own that is gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops.local import kafka
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
