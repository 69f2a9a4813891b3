"""What every HTTP server of ours does alike: limits, plain errors without tracebacks, headers, start and stop."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.seldom import Seldom
from adapters.sql import is_transient

log = logging.getLogger(__name__)
# What strangers send that is no HTTP would fill the log with tracebacks; whatever fails here is told by `log`.
_strangers = logging.getLogger(f"{__name__}.strangers")
_strangers.setLevel(logging.CRITICAL)
_SELDOM = Seldom()

MAX_LINE_BYTES: Final = 2_048
"""Of a request's first line, and of each header."""
MAX_HEADERS: Final = 64
KEEPALIVE_SECONDS: Final = 75.0
SHUTDOWN_SECONDS: Final = 5.0


def new_app(max_body_bytes: int) -> web.Application:
    """An application that answers errors with one plain line and refuses longer bodies."""
    app = web.Application(middlewares=[_plainly], client_max_size=max_body_bytes)
    app.on_response_prepare.append(_mark)
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Listen while the block runs; the port is yielded, which the system chooses where it is 0. Raises OSError."""
    runner = web.AppRunner(
        app, access_log=None, logger=_strangers, keepalive_timeout=KEEPALIVE_SECONDS, shutdown_timeout=SHUTDOWN_SECONDS,
        max_line_size=MAX_LINE_BYTES, max_field_size=MAX_LINE_BYTES, max_headers=MAX_HEADERS,
    )  # fmt: skip
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@web.middleware
async def _plainly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong becomes a status and a sentence; what is our fault goes to the log, not to the client."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, TimeoutError):
            if times := _SELDOM.count("unanswered"):
                log.warning("%s was not answered: %s (%d of them)", request.path, type(error).__name__, times)
            return web.Response(status=503, text="the database does not answer, try again\n", headers={"Retry-After": "1"})
        if times := _SELDOM.count("failed"):
            log.exception("%s failed (%d of them)", request.path, times)
        return web.Response(status=500, text="this is a fault of ours\n")


async def _mark(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "spaceos"
    response.headers["X-Content-Type-Options"] = "nosniff"
    # What says nothing else is an error or changes; neither may be kept.
    response.headers.setdefault("Cache-Control", "no-store")
