"""The two ends of a claim: a root goes to the rewards contract, and what the contract paid comes back from its logs."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from adapters.bank.ports import Log, NoAnswer
from contracts import Amount, Command
from contracts.rewards import ChainHash, ConfirmRoot, RecordClaim, earner_stream, epoch_stream
from projections.rewards import due
from streams import Desk, Errand, Outside, Task, TodoList

WINDOW_BLOCKS = 100
"""Claims of so many blocks are recorded side by side, and those of later ones when all of them show."""
AGAIN = timedelta(minutes=1)
"""A root that the contract refuses is sent again after this: each attempt costs gas, and a person has to act."""

CLAIMS = "claim_on_the_chain"

log = logging.getLogger(__name__)


def todos(outside: Outside) -> Iterator[TodoList]:
    yield TodoList("put_roots_on_the_chain", Roots(outside).plan)
    yield Claims(outside).todo()


@dataclass
class Roots:
    """Roots that were published and are not confirmed, in the order of their epochs."""

    outside: Outside
    _refused: bool = False
    _again: datetime | None = None

    def plan(self, desk: Desk) -> Iterator[Errand]:
        if self._refused:
            self._refused, self._again = False, desk.now + AGAIN
        found = due.root_due(desk.connection)
        if found is not None and (self._again is None or desk.is_due(self._again)):
            yield Errand(partial(self._put, found), epoch_stream(found.epoch), f"root:{found.epoch}", found.since)

    def _put(self, found: due.DueRoot) -> Command | None:
        answer = self.outside.calls.set_root(found.epoch, found.root)
        if answer is None:
            return None
        if answer.cause:
            log.error("the rewards contract refused the root of epoch %d: %s", found.epoch, answer.cause)
            self._refused = True
            return None
        return ConfirmRoot(transaction=ChainHash(answer.transaction), block=answer.block)


@dataclass
class Claims:
    """What the contract paid is claimed. Read again, it changes nothing.

    Where to read on is seen in the views: no claim of a window is sent before all of the windows before it show, so that
    the last one that shows names the window before which nothing is missing. A process reads that far back when it starts,
    and from then on what is new.
    """

    outside: Outside
    _until: int | None = None
    """The last block that need not be read again; None until the views say so."""
    _open: list[Log] = field(default_factory=list)
    """Claims that the views did not show, in the order of the chain."""

    def todo(self) -> TodoList:
        return TodoList(CLAIMS, self.plan, look=self.look)

    def look(self) -> bool:
        """Whether the contract has paid something else. A silent chain is asked again."""
        if self._until is None:
            return False
        try:
            found = self.outside.chain.logs(self._until)
        except NoAnswer:
            return False
        claimed = [told for told in found.logs if told.kind == "claimed"]
        self._until, self._open = found.block, self._open + claimed
        return bool(claimed)

    def plan(self, desk: Desk) -> Iterator[Task]:
        shown = due.claims_shown(desk.connection)
        if shown is None:
            return
        if self._until is None:
            self._until = max(shown.first_block, _window(shown.last_block) * WINDOW_BLOCKS) - 1
        if not self._open:
            return
        recorded = due.claims_recorded(self._open[0].block, desk.connection)
        self._open = [told for told in self._open if (told.transaction, told.index) not in recorded]
        # What the rules refused is somebody's to explain, and holds back no other.
        waiting = [told for told in self._open if desk.refusal(_key(told)) is None]
        for told in waiting:
            if _window(told.block) == _window(waiting[0].block):
                yield _recording(told, shown.since)


def _recording(told: Log, since: datetime) -> Task:
    command = RecordClaim(
        amount=Amount.of(told.asset, told.units), transaction=ChainHash(told.transaction), log=told.index, block=told.block
    )
    return Task(command, earner_stream(told.target.lower(), told.asset), _key(told), since)


def _key(told: Log) -> str:
    return f"claim:{told.transaction}:{told.index}"


def _window(block: int) -> int:
    return block // WINDOW_BLOCKS
