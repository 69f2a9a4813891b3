"""A projector process for the tests: `python -m tests.adapters.tally_reader KAFKA VIEWS CONTEXT [key=value …]`.

Ends as the command line's processes do: 0 when it was asked to stop, 70 when it cannot go on.
"""

import asyncio
import logging
import signal
import sys
from functools import partial

from adapters.faust import Group, GroupFailed, watchdog
from adapters.sql import engine_for
from adapters.views import Projector
from adapters.views.catching import work_beside
from adapters.views.folding import Parts
from adapters.views.rebuild import Rebuild
from adapters.views.sets import ReaderSet
from tests.adapters.shards import tally_projection


def parts(kafka: str, views: str, context: str) -> Parts:
    return Parts(engine_for(views), tally_projection(context), {"bootstrap_servers": kafka})


def rebuild(kafka: str, views: str, context: str, **options: object) -> Rebuild:
    return Rebuild(partial(parts, kafka, views, context), **options)  # type: ignore[arg-type]


async def main(kafka: str, views: str, context: str, **options: str) -> None:
    watchdog.STALLED_SECONDS = float(options.get("stalled", watchdog.STALLED_SECONDS))
    watchdog.MISSING_SECONDS = float(options.get("missing", watchdog.MISSING_SECONDS))
    watchdog.LOOK_SECONDS = float(options.get("look", watchdog.LOOK_SECONDS))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine, client = engine_for(views), {"bootstrap_servers": kafka}
    names = options.get("readers", "tally").split(",")
    contexts = [context] * len(names) + [other for other in options.get("also", "").split(",") if other]
    named = zip([*names, *(f"of_{other}" for other in contexts[len(names) :])], contexts, strict=True)
    members = [Projector(engine, tally_projection(of, name)) for name, of in named]
    readers = ReaderSet(engine, options.get("set", "tally"), members)
    group = Group(readers, client, network=f"of-{context}", instance=options.get("instance"))
    beside = asyncio.create_task(work_beside(readers, client, lambda: None))
    reading = asyncio.create_task(group.run(stop))
    done, _ = await asyncio.wait((reading, beside), return_when=asyncio.FIRST_COMPLETED)
    beside.cancel()
    for task in done:
        task.result()


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
    for noisy in ("aiokafka", "faust", "mode", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        asyncio.run(main(*sys.argv[1:4], **dict(word.split("=", 1) for word in sys.argv[4:])))
    except GroupFailed as failure:
        logging.error("%s", failure)
        sys.exit(70)
