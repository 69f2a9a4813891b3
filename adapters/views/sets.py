"""A set of readers: to its group one reader, with one consumer; each record parsed once; one transaction a turn for all.

Each keeps its own position, epoch and parked streams. One that is fenced is left alone, one whose rows the database refuses
commits by itself, one that was redriven reads again, and one that is far behind catches up beside (`catching`): a fault of one
is no fault of the others.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from adapters.crash import crashpoint
from adapters.kafka.locate import Looking, Places, locate_all
from adapters.sql import is_transient, reading, replayable
from adapters.views import positions
from adapters.views.chain import Delivered, FollowOnce, Stretch
from adapters.views.columns import Unwritable
from adapters.views.parked import held_streams
from adapters.views.places import Applied
from adapters.views.positions import Fenced, Move, Otherwise, Position
from adapters.views.processes import ProcessReader
from adapters.views.projector import PIECE_RECORDS, Projector
from adapters.views.readers import InTurn, sought
from adapters.views.session import Snapshot
from adapters.views.states import CATCHING_UP, LEFT, LIVE, States
from adapters.vouching import Vouch, anybody
from contracts import shard_name

log = logging.getLogger(__name__)

NEAR_RECORDS = 5_000
"""Whoever is further behind the foremost reader of a shard catches up beside, so that the others need not read it again."""
MOST_UNSENT = 5_000
"""Events whose commands are not sent yet; then the readers wait for the broker."""

Chunks = Mapping[str, Sequence[Delivered]]


class Member(Protocol):
    """A reader among others: a `Projector` or a `ProcessReader`, where each method is explained."""

    @property
    def name(self) -> str: ...
    @property
    def topics(self) -> Sequence[str]: ...
    def take(self, found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None: ...
    def add(self, shard: str, position: Position, held: Collection[str]) -> None: ...
    def leave(self, shard: str) -> None: ...
    def position(self, shard: str) -> Position: ...
    def doubts(self, shard: str) -> bool: ...
    def renew(self, shards: Collection[str], found: Mapping[str, Position], held: Mapping[str, Collection[str]]) -> None: ...
    def follow(self, shard: str, piece: Sequence[Delivered], stretch: Stretch, rows: Snapshot) -> None: ...
    def pending(self) -> list[Move]: ...
    def write(self, connection: Connection) -> None: ...
    def arrive(self) -> dict[str, Applied]: ...
    def doubt(self) -> None: ...


class ReaderSet:
    """Projections and processes as one reader of a group (`adapters.faust.Reader`).

    `behind` are those that catch up, by shard; `assigned` the shards that the group has given us. Both change in `claim`.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        members: Sequence[Projector | ProcessReader],
        *,
        on_moved: Callable[[Collection[str]], None] = lambda _readers: None,
        states: States | None = None,
        vouch: Vouch = anybody,
    ) -> None:
        """`on_moved` is told, in the loop, the names of readers whose rows have changed, and `place_of` all that have moved.

        `states` may be shared by all that a process reads. For whom nobody vouches is passed over.
        """
        self.name, self._engine, self._on_moved, self.vouch = name, engine, on_moved, vouch
        self._members: Mapping[str, Member] = {member.name: member for member in members}
        self._processes = [member for member in members if isinstance(member, ProcessReader)]
        self.topics: Sequence[str] = sorted({topic for member in members for topic in member.topics})
        everyone = self._members.values()
        self._of_topic: dict[str, list[Member]] = {topic: [m for m in everyone if topic in m.topics] for topic in self.topics}
        self._readers: dict[str, list[Member]] = {}
        self.behind: dict[str, list[Member]] = {}
        self.assigned: frozenset[str] = frozenset()
        self._left: set[tuple[str, str]] = set()
        self._waiting: frozenset[ProcessReader] = frozenset()
        self._full: set[Member] = set()
        """Processes of which too much is not sent: they read no further."""
        # From the thread to the loop: who has committed events.
        self._moved: deque[str] = deque()
        self._in_thread = InTurn()
        self._to_send = {process: asyncio.Event() for process in self._processes}
        self.states = states or States(engine, name)

    # As a reader of the group

    async def claim(self, shards: Collection[str]) -> None:
        """Own exactly these shards, for every member that listens to them."""
        await self._in_thread(self._claim, frozenset(shards))

    async def resume(self, look: Looking, tps: Collection[TopicPartition], *, thorough: bool) -> Places:
        """The offsets that continue the position of whoever is furthest behind among those that read with the group."""
        lowest = {tp: await self._in_thread(self._lowest, shard_name(*tp)) for tp in tps}
        wanted = {tp: sought(position) for tp, position in lowest.items() if position is not None}
        # Where nobody reads any more, nothing is to be read.
        ends = await look.bounds_of([tp for tp in tps if tp not in wanted])
        return {
            **await locate_all(look, wanted, thorough=thorough, vouch=self.vouch),
            **{tp: end for tp, (_, end) in ends.items()},
        }

    async def apply(self, chunks: Chunks) -> dict[str, Applied]:
        """Fold and commit for all; of each shard what has become of whoever is furthest behind."""
        try:
            return await self._in_thread(self._turn, chunks, lambda: self._readers)
        finally:
            self._after_turn()

    # Beside the group

    async def catch_up(self, chunks: Chunks) -> tuple[set[str], set[str]]:
        """Apply to those that are behind. The shards of which nobody is behind any more, and those that have a gap."""
        try:
            found = await self._in_thread(self._turn, chunks, lambda: self.behind)
            done = await self._in_thread(self._join, chunks)
            return done, {shard for shard, applied in found.items() if applied.gap is not None} - done
        finally:
            self._after_turn()

    async def behind_at(self, shard: str) -> Position | None:
        """Where to read on for those that are behind; None where nobody is any more."""
        return await self._in_thread(lambda: self._least(shard, self.behind))

    @property
    def processes(self) -> Sequence[ProcessReader]:
        """Each sends by itself (`send_for`): one whose commands no broker takes holds up no other."""
        return self._processes

    def wants_to_send(self, process: ProcessReader) -> bool:
        return self._to_send[process].is_set()

    async def send_for(self, process: ProcessReader) -> None:
        """Wait until the process wants something sent, send it, and remember. Raises KafkaError; then it is due again."""
        await self._to_send[process].wait()
        self._to_send[process].clear()
        try:
            while (wanted := await self._in_thread(process.due)) is not None:
                failed = await process.send(wanted) if wanted else []
                crashpoint("process.sent")
                await self._in_thread(self._remember, process, wanted, failed)
        except BaseException:
            self._to_send[process].set()
            raise
        await self._in_thread(self._hold_back)
        self._after_turn()

    async def look_after(self) -> None:
        """Say who reads what, and take back what was left to somebody who reads no more."""
        await self._in_thread(self._look_after)

    async def end(self) -> None:
        """Nothing more is read."""
        await self._in_thread(self.states.end)

    # In the thread: claims

    def _claim(self, shards: frozenset[str]) -> None:
        wanted = {shard: self._of_topic[shard.rpartition("/")[0]] for shard in sorted(shards)}
        with self._engine.begin() as connection:
            found = positions.claim(connection, {shard: [m.name for m in members] for shard, members in wanted.items()})
            held = held_streams(connection, list(self._members))
        for name, member in self._members.items():
            member.take(found.get(name, {}), held.get(name, {}))
        # Replaced, not changed: whoever catches up sees that it has to begin again.
        readers: dict[str, list[Member]] = {}
        behind: dict[str, list[Member]] = {}
        for shard, members in wanted.items():
            foremost = max(member.position(shard).next for member in members)
            near = [member for member in members if foremost - member.position(shard).next <= NEAR_RECORDS]
            far = [member for member in members if member not in near]
            readers[shard] = near
            if far:
                behind[shard] = far
        self._readers, self.behind, self.assigned, self._left = readers, behind, shards, set()
        far_behind = {(member.name, shard) for shard, members in behind.items() for member in members}
        self.states.claimed(self._members, found, far_behind)
        self._hold_back()

    def _lowest(self, shard: str) -> Position | None:
        members = self._readers.get(shard) or self.behind.get(shard) or ()
        return min((member.position(shard) for member in members), key=lambda at: at.next, default=None)

    def _fall_behind(self, members: Iterable[Member], shards: Collection[str]) -> None:
        """They go on beside, so that the others need not wait for them."""
        behind = {shard: list(those) for shard, those in self.behind.items()}
        for member in members:
            for shard in shards:
                if member in self._readers.get(shard, ()):
                    self._readers[shard] = [other for other in self._readers[shard] if other is not member]
                    behind.setdefault(shard, []).append(member)
                    self.states.changed(member.name, shard, CATCHING_UP)
        # Another object: whoever catches up sees that it has to begin again.
        self.behind = behind

    def _leave(self, member: Member, fenced: Fenced) -> None:
        """Somebody else reads those shards under that name. What others read here goes on."""
        log.warning("%s leaves %s: %s", self.name, member.name, fenced)
        for shard in fenced.shards:
            member.leave(shard)
            self._left.add((member.name, shard))
            self.states.changed(member.name, shard, LEFT)
            for among in (self._readers, self.behind):
                if shard in among:
                    among[shard] = [other for other in among[shard] if other is not member]

    def _join(self, shards: Iterable[str]) -> set[str]:
        done = set()
        for shard in shards:
            here = [member.position(shard).next for member in self._readers.get(shard, ())]
            for member in list(self.behind.get(shard, ())):
                if member not in self._full and (not here or member.position(shard).next >= min(here)):
                    self.behind[shard].remove(member)
                    self._readers.setdefault(shard, []).append(member)
                    self.states.changed(member.name, shard, LIVE)
                    log.info("%s: %s has caught up with %s", self.name, member.name, shard)
            if not self.behind.get(shard):
                self.behind.pop(shard, None)
                done.add(shard)
        return done

    def _look_after(self) -> None:
        for name, shard in self.states.tell(self._left):
            member = self._members[name]
            with self._engine.begin() as connection:
                found = positions.claim(connection, {shard: [name]})[name]
                held = held_streams(connection, [name]).get(name, {})
            log.warning("%s takes %s %s back: who had claimed it reads no more", self.name, name, shard)
            member.add(shard, found[shard], held.get(shard, set()))
            self._left.discard((name, shard))
            self.behind = {**self.behind, shard: [*self.behind.get(shard, ()), member]}
            self.states.began(name, shard, found[shard], is_behind=True)

    # In the thread: turns

    def _turn(self, chunks: Chunks, those: Callable[[], Mapping[str, Sequence[Member]]]) -> dict[str, Applied]:
        # Asked for here: whoever waited for this thread may have waited for a claim.
        among, folded = those(), dict[str, Member]()
        before = {shard: self._least(shard, among) for shard in chunks}
        gaps: dict[str, int] = {}
        try:
            # Before any row is read: what is believed and what is read belong together.
            self._believe(chunks, among)
            with Snapshot(self._engine) as rows:
                for shard, records in chunks.items():
                    gap = self._fold(shard, records, among, folded, rows)
                    if gap is not None:
                        gaps[shard] = gap
            self._commit([*folded.values(), *(p for p in self._processes if p.name not in folded and p.has_pending)])
        except BaseException:
            for member in folded.values():
                member.doubt()
            raise
        self._hold_back()
        found: dict[str, Applied] = {}
        for shard in chunks:
            if (after := self._least(shard, among)) is not None:
                begun = before[shard]
                events = max(after.next - begun.next, 0) if begun is not None else 0
                found[shard] = Applied(after, events, gap=gaps.get(shard))
        return found

    def _hold_back(self) -> None:
        """Note who has something to send; whoever has too much reads on when it is sent."""
        self._waiting = frozenset(process for process in self._processes if process.due() is not None)
        self._full = {process for process in self._processes if process.unsent_events() > MOST_UNSENT}
        for process in self._full:
            self._fall_behind([process], list(self._readers))

    def _fold(
        self, shard: str, records: Sequence[Delivered], among: Mapping[str, Sequence[Member]], folded: dict[str, Member],
        rows: Snapshot,
    ) -> int | None:  # fmt: skip
        """All members through all pieces; what came before its turn for all of them."""
        members, clock = [member for member in among.get(shard, ()) if member not in self._full], time.perf_counter
        for start in range(0, len(records), PIECE_RECORDS):
            piece = records[start : start + PIECE_RECORDS]
            follow, gaps = FollowOnce(shard, piece, self.vouch), dict[Member, int]()
            for member in members:
                stretch = follow(member.position(shard))
                if stretch.gap is not None:
                    gaps[member] = stretch.gap
                if stretch.facts:
                    folded[member.name] = member
                    began = clock()
                    member.follow(shard, piece, stretch, rows)
                    self.states.folded(member.name, shard, len(stretch.facts), clock() - began)
            if follow.strangers:
                self.states.passed_over(shard, follow.strangers)
            if gaps and (len(gaps) == len(members) or among is not self._readers):
                return min(gaps.values(), default=None)
            # What only some miss they look for beside.
            members = [member for member in members if member not in gaps]
            if gaps:
                self._fall_behind(gaps, [shard])
        return None

    def _believe(self, shards: Collection[str], among: Mapping[str, Sequence[Member]]) -> None:
        """Read again what is doubted, for all members at once."""
        doubtful: dict[Member, set[str]] = {}
        for shard in shards:
            for member in among.get(shard, ()):
                if member.doubts(shard):
                    doubtful.setdefault(member, set()).add(shard)
        if not doubtful:
            return
        names = [member.name for member in doubtful]
        with reading(self._engine) as connection:
            found, held = positions.positions_of_each(connection, names), held_streams(connection, names)
        for member, mine in doubtful.items():
            try:
                member.renew(mine, found.get(member.name, {}), held.get(member.name, {}))
            except Fenced as fenced:
                self._leave(member, fenced)

    def _least(self, shard: str, among: Mapping[str, Sequence[Member]]) -> Position | None:
        return min((m.position(shard) for m in among.get(shard, ())), key=lambda at: at.next, default=None)

    def _commit(self, members: Sequence[Member]) -> None:
        """Whatever is pending of these, in one transaction; by halves where that fails for a reason of one of them."""
        try:
            self._commit_together(members)
        except (Otherwise, Fenced, Unwritable, DBAPIError) as error:
            if is_transient(error):
                raise
            if len(members) == 1:
                self._commit_alone(members[0])
                return
            log.info("%s: a turn is committed in parts: %s", self.name, error)
            half = len(members) // 2
            self._commit(members[:half])
            self._commit(members[half:])

    def _commit_together(self, members: Sequence[Member]) -> None:
        moves = [move for member in members for move in member.pending()]
        if not moves:
            return
        with replayable(self._engine) as connection:
            positions.advance(connection, moves)
            crashpoint("project.begun")
            for member in members:
                member.write(connection)
            crashpoint("project.half")
        crashpoint("project.committed")
        for member in members:
            member.arrive()
        self._moved.extend(move.reader for move in moves if move.wrote)
        self._moved.extend(positions.place_of(move.reader) for move in moves)

    def _commit_alone(self, member: Member) -> None:
        while True:
            try:
                if isinstance(member, Projector):
                    member.commit()
                    self._moved += (member.name, positions.place_of(member.name))
                else:
                    self._commit_together([member])
                return
            except Fenced as fenced:
                self._leave(member, fenced)
            except Otherwise as otherwise:
                log.info("%s: %s reads again: %s", self.name, member.name, otherwise)
                member.doubt()
                for among in (self._readers, self.behind):
                    self._believe([shard for shard, members in among.items() if member in members], among)

    def _remember(self, process: ProcessReader, wanted: Any, failed: Any) -> None:
        process.sent(wanted, failed)
        try:
            self._commit([process])
        except BaseException:
            process.doubt()
            raise
        self._hold_back()

    # In the loop

    def _after_turn(self) -> None:
        moved = set[str]()
        while self._moved:
            moved.add(self._moved.popleft())
        if moved:
            self._on_moved(moved)
        for process in self._waiting:
            self._to_send[process].set()
