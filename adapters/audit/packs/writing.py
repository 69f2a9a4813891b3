"""Writing packs and bundles: what is asked for, and everything that a verifier must have beside it."""

from dataclasses import dataclass
from pathlib import Path

from adapters.audit.log import AuditLog, NotInLog
from adapters.audit.packs import rows
from adapters.audit.packs.contents import Contents
from adapters.audit.packs.enclosed import Enclosed
from adapters.audit.packs.zips import Spool
from adapters.audit.search import Filter, search


@dataclass(frozen=True, slots=True)
class Written:
    """A pack on disk: how large it is, what its manifest's SHA-256 is, and how many entries it proves."""

    path: Path
    bytes: int
    manifest_sha256: str
    entries: int


def write_pack(
    log: AuditLog, target: Path, *, event: str | None = None, stream: str | None = None, enclosed: Enclosed | None = None
) -> Written:
    """Prove one event, by its id, or one stream, all of its versions. Raises NotInLog, ValueError."""
    if (event is None) == (stream is None):
        raise ValueError("a pack proves one event or one stream")
    with Spool(target) as spool:
        contents = Contents(spool, log, enclosed or Enclosed())
        found = [leaf.index for leaf in _leaves(log, contents.size, event, stream)]
        if not found:
            raise NotInLog(f"no signed head covers {event or stream}")
        contents.add_alone("entries", found)
        asked = {"event": event} if event else {"versions": stream}
        digest = contents.finish("event" if event else "stream", asked, found)
    return Written(target, target.stat().st_size, digest, len(found))


def write_bundle(log: AuditLog, target: Path, wanted: Filter, enclosed: Enclosed | None = None) -> Written:
    """Prove a contiguous range, or what fits a filter. Raises NotInLog, ValueError.

    With `first` or `end` the whole range is in it, so that the filter can be run again: nothing that fits was left out.
    Without them each entry is proved alone, and that there are no others is not proved.
    """
    with Spool(target) as spool:
        contents = Contents(spool, log, enclosed or Enclosed())
        if wanted.first is None and wanted.end is None:
            fitting = [row.leaf for row in search(log.engine, wanted) if row.leaf < contents.size]
            contents.add_alone("entries", fitting)
            digest = contents.finish("filter", wanted.document(), fitting)
            return Written(target, target.stat().st_size, digest, len(fitting))
        first, end = wanted.first or 0, contents.size if wanted.end is None else wanted.end
        if not 0 <= first < end <= contents.size:
            raise NotInLog(f"the signed head has {contents.size} entries: no range from {first} to {end} is in it")
        asked = {**wanted.document(), "first": first, "end": end}
        is_all = asked.keys() == {"first", "end"}
        found = None if is_all else [row.leaf for row in search(log.engine, wanted) if row.leaf < end]
        contents.add_range(first, end, None if found is None else set(found))
        digest = contents.finish("range" if is_all else "filter", asked, found)
    return Written(target, target.stat().st_size, digest, end - first if found is None else len(found))


def _leaves(log: AuditLog, size: int, event: str | None, stream: str | None) -> list[rows.Leaf]:
    if stream is not None:
        return list(rows.of_streams(log.engine, [stream], size))
    return list(rows.at(log.engine, rows.indices_of(log.engine, [event or ""], size).values()))
