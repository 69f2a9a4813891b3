"""Sending signed commands and waiting for what becomes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.kafka.commands import Answer, CommandSender, SignedCommand, sign_command, watching_outcomes
from adapters.keys import Signer, read_key
from contracts import Command

if TYPE_CHECKING:
    from ops.compose import Deployment

SECONDS = 30.0


class NotAccepted(RuntimeError):
    """A command that had to be accepted was refused, or no outcome came. The message says which and why."""


class NoSuchKey(LookupError):
    """This machine has no key of that name."""


class Asking:
    """Asks in the name of a key, and takes no for an error."""

    def __init__(self, deployment: "Deployment", key: str | Path) -> None:
        """`key` is a key's name, or its file. Raises NoSuchKey, KeyFileUnsafe."""
        self._deployment = deployment
        paths = (Path(key), deployment.settings.keys / f"{key}.key")
        found = [path for path in paths if path.is_file()]
        if not found:
            raise NoSuchKey(f"no key {key} in {deployment.settings.keys}; list them with: spaceos key show")
        self._signer: Signer = read_key(found[0])

    @property
    def did(self) -> str:
        return self._signer.did

    async def __call__(self, *asked: tuple[Command, str], seconds: float = SECONDS) -> list[list[dict[str, object]]]:
        """The events of each, as its outcome names them: shard, sequence, id, streamversion. Raises NotAccepted."""
        signed = [sign_command(command, subject, self._signer, self._deployment.network) for command, subject in asked]
        answers = await ask(self._deployment, signed, seconds)
        for (command, subject), sent in zip(asked, signed, strict=True):
            found = answers.get(sent.id)
            if found is None:
                raise NotAccepted(
                    f"{command.wire.type} to {subject} has no outcome after {seconds:g} s: is `spaceos up` running?"
                )
            if not found.is_accepted:
                raise NotAccepted(f"{command.wire.type} to {subject} was refused: {_reason(found)}")
        return [list(answers[sent.id].document["data"].get("events", ())) for sent in signed]


async def ask(deployment: "Deployment", commands: Sequence[SignedCommand], seconds: float) -> dict[str, Answer]:
    """Publish them; the answers that came within the time, by the commands' ids. With 0 seconds nothing is waited for."""
    client, partitions = deployment.settings.kafka_client_options(), deployment.settings.partitions
    contexts = {command.topic.removesuffix(".commands") for command in commands}
    sender = CommandSender(client, partitions)
    await sender.start()
    try:
        async with watching_outcomes(client, contexts, partitions, vouch=deployment.vouch) as outcomes:
            await sender.send(commands)
            return await outcomes.wait_for(commands, seconds) if seconds else {}
    finally:
        await sender.stop()


def _reason(answer: Answer) -> str:
    refusal = answer.refusal or {}
    return f"{refusal.get('name')}: {refusal.get('text')}"
