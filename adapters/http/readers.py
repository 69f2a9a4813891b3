"""Who may read entries. Heads and hash tiles are public; entries are for readers with the role `audit.reader`."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

SCHEME: Final = "Bearer"

MayRead = Callable[[web.Request], Awaitable[str | None]]
"""Who asks, if he may read entries; None where he has not said who he is. Raises NotEntitled."""

OnEntries = Callable[[str, int, int], Awaitable[None]]
"""`(reader, first, last)`, before these entries leave: when it raises, they stay. Raises NotEntitled where he may not."""

Tokens = Callable[[], Awaitable[Mapping[str, str]]]
"""SHA-256 of each token (hex) to the DID of the reader whose it is, as of now: a line that was deleted counts no more."""


class NotEntitled(Exception):
    """Who asks is known, and may not read entries."""


async def nobody(_request: web.Request) -> str | None:
    """Entries are read by nobody."""
    return None


async def unrecorded(_reader: str, _first: int, _last: int) -> None:
    """Reads are not recorded: for tests, and for logs that hold nothing of persons."""


def bearer(tokens: Tokens) -> MayRead:
    """Tokens in the header `Authorization: Bearer …`. Whether the reader has the role is decided when he reads."""

    async def may_read(request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != SCHEME.lower():
            return None
        # What is compared is a hash: how long that takes says nothing about a token.
        return (await tokens()).get(hashlib.sha256(token.strip().encode()).hexdigest())

    return may_read
