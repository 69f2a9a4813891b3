"""Carrying out erasures: ask once more what bars it, destroy the keys, say so, confirm. Every step may be repeated."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from adapters.sql import reading
from contracts import EventId
from contracts.audit import ConfirmErasure, ResumeErasure
from contracts.custody import Shred
from ops.asking import Asking, NotAccepted
from ops.compose import Deployment, open_engine
from ops.sealing import open_vault
from projections.audit import erasures_in
from projections.custody import key_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class Eraser:
    """What is ordered or deferred, looked at again and again, until nothing of it is left."""

    def __init__(self, deployment: Deployment, views: Engine | None = None) -> None:
        self._views = views or open_engine(deployment.settings.views, "views")
        self._vault, self._ask = open_vault(deployment), Asking(deployment, "process")

    async def turn(self) -> list[str]:
        """The erasures that were carried out now. What is barred, or what the world kept from it, stays for the next turn."""
        done = []
        for row in self._waiting():
            try:
                if await self._carry_out(row):
                    done.append(row.erasure)
            except NotAccepted as error:
                log.info("the erasure %s waits: %s", row.erasure, error)
        return done

    def _waiting(self) -> Sequence[Any]:
        with reading(self._views) as connection:
            return [*erasures_in("ordered", connection), *erasures_in("deferred", connection)]

    async def _carry_out(self, row: Any) -> bool:
        stream, keys = f"audit/erasure/{row.erasure}", json.loads(row.keys)
        # A hold may have been placed since the order: the decision is made again, right before there is no way back.
        tags = sorted(self._vault.tag_of(person) for person in self._vault.persons_of(keys))
        [changed] = await self._ask((ResumeErasure.read({"tags": tags}), stream))
        if changed or row.state != "ordered":
            return False
        self._vault.destroy(keys)
        shredded = await self._shred(keys, EventId(row.ordered_by))
        await self._ask((ConfirmErasure(shredded=tuple(shredded)), stream))
        return True

    async def _shred(self, keys: Sequence[str], cause: EventId) -> list[EventId]:
        answers = await self._ask(*((Shred(cause=cause), f"custody/key/{key}") for key in keys))
        found = zip(keys, answers, strict=True)
        return [EventId(str(events[0]["id"])) if events else self._shredding(key) for key, events in found]

    def _shredding(self, key: str) -> EventId:
        """Of a key that an earlier try destroyed."""
        with reading(self._views) as connection:
            row = key_of(key, connection)
        if row is None or row.shredding is None:
            raise NotAccepted(f"the view does not show yet that {key} was destroyed")
        return EventId(row.shredding)
