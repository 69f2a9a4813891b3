"""Python's cyclic collector, told what kind of process this is."""

import gc


def collect_rarely() -> None:
    """For processes that keep thousands of objects alive on purpose, none of them in a cycle.

    By default the collector walks them again and again: a third of a worker's time, half of a rebuild's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
