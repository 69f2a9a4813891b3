"""A view's versions as operators record them: beside the swap itself, which needs nobody's signature."""

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.replay.streams import NoSuchStream
from adapters.views.rebuild import Rebuilt
from contracts import Digest, Label
from contracts.operations import AbandonRebuild, Check, RetireVersion, StartRebuild, SwapView, view_stream
from ops.compose import Deployment
from ops.replay.answering import places
from ops.replay.opening import Asked, reading_from
from ops.replay.recording import record_async
from ops.replay.states import stream_at
from projections import Projection


@dataclass(frozen=True, slots=True)
class Versions:
    """What is recorded of a view: the live version, the one that is being folded, the last number that was given."""

    live: int = 0
    folding: int | None = None
    last: int = 0
    kept: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recorder:
    """Records one view's versions with one key."""

    deployment: Deployment
    key: str | Path
    projection: Projection

    async def versions(self) -> Versions:
        """As the log has them now; none where nothing was ever recorded."""
        async with reading_from(self.deployment, Asked()) as opened:
            try:
                _, found = await stream_at(opened, self._stream, "now")
            except NoSuchStream:
                return Versions()
        fields: dict[str, Any] = found.get("View", {})
        return Versions(fields.get("live", 0), fields.get("folding"), fields.get("last", 0), tuple(fields.get("kept", ())))

    async def start(self, mark: Mapping[str, int]) -> int:
        """The number of the version that is being folded from now on; one that was left unfinished is abandoned."""
        before = await self.versions()
        version = before.last + 1
        if before.folding is not None:
            await self.abandon("left unfinished")
            # Its number is free again. The log may not show that yet: an outcome is heard before its events need be.
            version = before.folding
        await self._record(StartRebuild(version=version, code_digest=code_digest(self.projection), mark=places(mark)))
        return version

    async def swapped(self, version: int, found: Rebuilt, *, why: str) -> str:
        """The event's id. Where the digests differ, `why` is the reason for which the new one was wanted all the same."""
        checks = () if found.equal else (Check(name=Label(why), held=True),)
        return await self._record(
            SwapView(
                version=version, cut=places(found.cut), old_digest=Digest(found.live.sha256),
                new_digest=Digest(found.rebuilt.sha256), meaning="same" if found.equal else "new", checks=checks,
            )
        )  # fmt: skip

    async def abandon(self, cause: str) -> str:
        return await self._record(AbandonRebuild(cause=Label(cause)))

    async def retire(self, version: int) -> str:
        return await self._record(RetireVersion(version=version))

    @property
    def _stream(self) -> str:
        return view_stream(self.projection.name)

    async def _record(self, command: Any) -> str:
        return await record_async(self.deployment, self.key, command, self._stream)


def code_digest(projection: Projection) -> Digest:
    """SHA-256 of the module that holds the projection's function: whose code a version was folded by."""
    module = importlib.import_module(projection.project.__module__)
    return Digest(hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest())
