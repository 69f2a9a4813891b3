"""The demo's hand: sends signed commands with a bounded number on the way, and hears what becomes of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError

from adapters.kafka.commands import Answer, CommandSender, Outcomes, SignedCommand, watching_outcomes
from contracts import contexts

ON_THE_WAY = 2_000
PIECE = 100
RESEND_SECONDS = 20.0


class Client:
    """Commands out, answers in. A command without an answer is sent again, byte for byte: that is what ids are for."""

    def __init__(self, sender: CommandSender, outcomes: Outcomes) -> None:
        self._sender, self._outcomes = sender, outcomes
        self._waiting: dict[str, tuple[SignedCommand, float]] = {}
        self._room = asyncio.Condition()
        self.answers: dict[str, Answer] = {}

    async def listen(self) -> None:
        """For ever: hear outcomes, make room."""
        while True:
            try:
                heard = await self._outcomes.answers(200)
            except KafkaError:
                await asyncio.sleep(0.5)
                continue
            # An outcome that is repeated may come twice in one poll.
            mine = {x.command_id: x for x in heard if x.command_id in self._waiting and x.is_to(self._waiting[x.command_id][0])}
            for command_id in mine:
                del self._waiting[command_id]
            self.answers.update(mine)
            if mine:
                async with self._room:
                    self._room.notify_all()
            await self._send_again()

    async def _send_again(self) -> None:
        now = asyncio.get_running_loop().time()
        late = [command for command, sent_at in self._waiting.values() if now - sent_at > RESEND_SECONDS]
        if late:
            await self.send(late[:PIECE])

    async def send(self, commands: Iterable[SignedCommand]) -> None:
        """Hand them to the broker, now; a broker that is away is waited for."""
        some = list(commands)
        now = asyncio.get_running_loop().time()
        self._waiting.update({command.id: (command, now) for command in some})
        while True:
            try:
                return await self._sender.send(some)
            except KafkaError:
                await asyncio.sleep(0.5)

    async def send_without_answer(self, commands: Iterable[SignedCommand]) -> None:
        """For records whose outcome stands under another name, or that have none."""
        await self._sender.send(list(commands))

    async def room(self) -> None:
        """Wait until fewer than ON_THE_WAY are unanswered."""
        async with self._room:
            await self._room.wait_for(lambda: len(self._waiting) < ON_THE_WAY)

    async def settle(self, seconds: float) -> int:
        """Wait for all answers; how many are missing when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._room:
                await self._room.wait_for(lambda: not self._waiting)
        return len(self._waiting)

    async def all(self, commands: list[SignedCommand], advance: Callable[[int], None]) -> list[Answer]:
        """Send all of them and wait for all answers. Raises TimeoutError."""
        for start in range(0, len(commands), PIECE):
            await self.room()
            piece = commands[start : start + PIECE]
            await self.send(piece)
            advance(len(piece))
        if missing := await self.settle(120):
            raise TimeoutError(f"{missing} commands have no outcome after two minutes; the logs are in <home>/logs")
        return [self.answers.pop(command.id) for command in commands]


@asynccontextmanager
async def client_for(options: Mapping[str, Any], partitions: int, kind: type[Client] = Client) -> AsyncIterator[Client]:
    """A client that listens."""
    sender = CommandSender(options, partitions)
    await sender.start()
    try:
        async with watching_outcomes(options, contexts(), partitions) as outcomes:
            client = kind(sender, outcomes)
            listening = asyncio.create_task(client.listen())
            try:
                yield client
            finally:
                listening.cancel()
                [end] = await asyncio.gather(listening, return_exceptions=True)
                if isinstance(end, Exception):
                    # Whatever the body waited for in vain, this is why.
                    raise end
    finally:
        await sender.stop()
