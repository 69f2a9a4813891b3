"""The audit log's read side: C2SP tlog-tiles under one prefix, proofs, the witness policy, and a page for people.

Whatever is served is covered by a signed head: a tile, a proof or an entry of a larger tree is not there yet (404).
"""

import asyncio
import gzip
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, TypeVar

from aiohttp import ETag, web

from adapters.audit import AuditLog
from adapters.audit.log import NotInLog
from adapters.audit.policy import Policy
from adapters.http.page import page
from adapters.http.published import Kept, Published
from adapters.http.readers import MayRead, NotEntitled, OnEntries, nobody, unrecorded
from adapters.http.serving import new_app
from adapters.tlog.submissions import SubmissionInvalid, size_of
from adapters.tlog.tiles import WIDTH, Tile

log = logging.getLogger(__name__)

THREADS: Final = 4
ANSWER_SECONDS: Final = 10.0
MAX_BODY_BYTES: Final = 1_024
GZIP_LEVEL: Final = 1
GZIP_BYTES: Final = 1_024
"""What is shorter is not worth it."""
FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_THE_READER: Final = "private, max-age=31536000, immutable"
OCTETS: Final = "application/octet-stream"

T = TypeVar("T")


def audit_app(
    audit: AuditLog, *, policy: Policy | None = None, may_read: MayRead = nobody, on_entries: OnEntries = unrecorded
) -> web.Application:
    """One log's application. It owns its threads, not the log's engine."""
    served = _Served(Published(audit, policy), may_read, on_entries)
    app = new_app(MAX_BODY_BYTES)
    app.router.add_get("/", served.page)
    app.router.add_get("/healthz", served.health)
    app.router.add_get("/checkpoint", served.checkpoint)
    app.router.add_get("/checkpoint.witnessed", served.witnessed)
    app.router.add_get("/policy", served.policy)
    app.router.add_get("/proof/{index}", served.proof)
    app.router.add_get("/consistency", served.consistency)
    app.router.add_get("/tile/{rest:.+}", served.tile)
    app.on_cleanup.append(served.close)
    return app


class _Served:
    def __init__(self, published: Published, may_read: MayRead, on_entries: OnEntries) -> None:
        self._published, self._may_read, self._on_entries = published, may_read, on_entries
        self._threads = ThreadPoolExecutor(THREADS, "audit-http")

    async def close(self, _app: web.Application) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def checkpoint(self, _request: web.Request) -> web.Response:
        return _text((await self._ask(self._published.checkpoint))[1])

    async def witnessed(self, _request: web.Request) -> web.Response:
        return _text((await self._ask(self._published.witnessed))[1])

    async def policy(self, _request: web.Request) -> web.Response:
        if self._published.policy is None:
            raise _missing("this log has no policy: its heads are signed by nobody but the log")
        return _text(self._published.policy.encode())

    async def proof(self, request: web.Request) -> web.Response:
        index, size = _number(request.match_info["index"]), _asked(request, "size")
        answer = _text(str(await self._ask(lambda: self._published.proof(index, size))))
        answer.headers["Content-Disposition"] = f'inline; filename="{index}.tlog-proof"'
        return answer

    async def consistency(self, request: web.Request) -> web.Response:
        """The body that a witness is sent: the old size, the proof, and the head to which it leads."""
        old, new = _asked(request, "old"), _asked(request, "new")
        if old is None:
            raise _wrong("say from which size: /consistency?old=N")
        return _text((await self._ask(lambda: self._published.consistency(old, new))).encode())

    async def tile(self, request: web.Request) -> web.Response:
        tile = _tile(request)
        if tile.level is None:
            return await self._entries(request, tile)
        found = await self._ask(lambda: self._published.tile(tile))
        headers = {"Cache-Control": FOR_EVER, "Access-Control-Allow-Origin": "*"}
        return _kept(request, ETag(found.tag), found.raw, headers)

    async def _entries(self, request: web.Request, tile: Tile) -> web.Response:
        reader = await self._reader(request)
        found = await self._ask(lambda: self._published.tile(tile))
        headers = {"Cache-Control": FOR_THE_READER, "Vary": "Authorization, Accept-Encoding"}
        tag = ETag(found.tag, is_weak=True)
        if _has(request, tag):
            return _kept(request, tag, b"", headers)
        raw = await self._packed(request, found, headers)
        await self._record(reader, tile)
        return _kept(request, tag, raw, headers)

    async def _reader(self, request: web.Request) -> str:
        try:
            reader = await self._may_read(request)
        except NotEntitled as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        if reader is None:
            text = "entries are for readers with the role audit.reader: say who you are\n"
            raise web.HTTPUnauthorized(text=text, headers={"WWW-Authenticate": 'Bearer realm="audit"'})
        return reader

    async def _record(self, reader: str, tile: Tile) -> None:
        first = tile.index * WIDTH
        try:
            await self._on_entries(reader, first, first + tile.width - 1)
        except NotEntitled as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        except Exception:
            log.exception("entries from %d were not given to %s: the read could not be recorded", first, reader)
            text = "the read could not be recorded, so nothing is given out; try again\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "1"}) from None

    async def _packed(self, request: web.Request, found: Kept, headers: dict[str, str]) -> bytes:
        if len(found.raw) < GZIP_BYTES or not _takes_gzip(request):
            return found.raw
        headers["Content-Encoding"] = "gzip"
        return await self._ask(lambda: gzip.compress(found.raw, GZIP_LEVEL, mtime=0))

    async def page(self, _request: web.Request) -> web.Response:
        found = await self._ask(lambda: page(self._published.overview(), self._published.policy, datetime.now(UTC)))
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Referrer-Policy": "no-referrer"}
        return web.Response(text=found, content_type="text/html", headers=headers)

    async def health(self, _request: web.Request) -> web.Response:
        """200 while the database answers, whatever it says."""
        head = await self._ask(self._published.log.head)
        return web.Response(text=f"ok {head.size if head else 0}\n")

    async def _ask(self, question: Callable[[], T]) -> T:
        """What the database says, asked in a thread. Raises HTTPNotFound, and TimeoutError where it takes too long."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, question)
        except (NotInLog, IndexError) as error:
            raise _missing(str(error)) from None


def _text(content: str | bytes) -> web.Response:
    body = content.encode() if isinstance(content, str) else content
    headers = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
    return web.Response(body=body, content_type="text/plain", charset="utf-8", headers=headers)


def _kept(request: web.Request, tag: ETag, raw: bytes, headers: dict[str, str]) -> web.Response:
    if _has(request, tag):
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=raw, content_type=OCTETS, headers=headers)
    response.etag = tag
    return response


def _has(request: web.Request, tag: ETag) -> bool:
    """Whether the client says that it has these bytes already. Compared weakly (RFC 9110, 13.1.2)."""
    return any(known.value in (tag.value, "*") for known in request.if_none_match or ())


def _tile(request: web.Request) -> Tile:
    path = f"tile/{request.match_info['rest']}"
    try:
        tile = Tile.parse(path)
    except ValueError as error:
        raise _missing(str(error)) from None
    # One resource has one URL: no escapes, no query.
    if not request.raw_path.endswith(f"/{path}"):
        raise _missing(f"{request.raw_path[:80]!r} is another spelling of /{path}")
    return tile


def _asked(request: web.Request, name: str) -> int | None:
    given = request.query.getall(name, [])
    if len(given) > 1:
        raise _wrong(f"{name} is given twice")
    return _number(given[0]) if given else None


def _number(text: str) -> int:
    try:
        return size_of(text)
    except SubmissionInvalid as error:
        raise _wrong(str(error)) from None


def _takes_gzip(request: web.Request) -> bool:
    offers = [offer.replace(" ", "").lower() for offer in request.headers.get("Accept-Encoding", "").split(",")]
    return any(offer.partition(";")[0] == "gzip" and not offer.rstrip("0.").endswith(";q=") for offer in offers)


def _missing(text: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=f"{text}\n")


def _wrong(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f"{text}\n")
