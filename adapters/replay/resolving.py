"""From a position to its cut: over the shards of some topics, as a source holds them."""

from collections.abc import Collection

from adapters.replay.cuts import AtCheckpoint, AtCut, AtEvent, AtTime, BadPosition, Cut, Now, Position
from adapters.replay.logged import LogSource
from adapters.replay.sources import RangeMissing, Source, prefix_until, time_at


async def resolve(position: Position, source: Source, topics: Collection[str], log: LogSource | None = None) -> Cut:
    """Every shard of the topics with its next sequence. `log` tells what a checkpoint covers.

    Raises BadPosition for shards that there are none of, RangeMissing for what the source does not hold.
    """
    shards = await source.shards(topics)
    match position:
        case Now():
            return await source.ends(shards)
        case AtTime(time=time):
            return await _until(source, shards, time)
        case AtCheckpoint(size=size):
            if log is None:
                raise BadPosition("a checkpoint is a position of the audit log, and none is known here: --log URL")
            found = log.cut_at(size)
            return {shard: found.get(shard, 0) for shard in shards}
        case AtEvent(id=id):
            return await _at_event(source, shards, id)
        case AtCut(cut=cut):
            return await _literal(source, shards, topics, cut)


async def _until(source: Source, shards: Collection[str], time: str) -> dict[str, int]:
    ends = await source.ends(shards)
    return {shard: await prefix_until(source, shard, end, time) for shard, end in ends.items()}


async def _at_event(source: Source, shards: Collection[str], id: str) -> Cut:
    place = await source.place_of(id, shards)
    if place is None:
        raise RangeMissing(f"no event {id} is in {', '.join(sorted({shard.rpartition('/')[0] for shard in shards}))}")
    shard, sequence = place
    around = await _until(source, [other for other in shards if other != shard], await time_at(source, shard, sequence))
    return {**around, shard: sequence + 1}


async def _literal(source: Source, shards: Collection[str], topics: Collection[str], cut: Cut) -> Cut:
    # A cut of the whole network is also one of some of its topics.
    mine = {shard: next_ for shard, next_ in cut.items() if shard.rpartition("/")[0] in topics}
    if unknown := mine.keys() - set(shards):
        raise BadPosition(f"there is no {min(unknown)}; there are: {', '.join(shards) or 'none'}")
    held = await source.ends(mine)
    for shard, next_ in mine.items():
        if next_ > held[shard]:
            raise RangeMissing(f"{shard} ends before {held[shard]}, the cut says {next_}")
    return {shard: mine.get(shard, 0) for shard in shards}
