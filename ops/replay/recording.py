"""Recording that something was run: as a signed command, if somebody gives a key for it."""

import asyncio
from pathlib import Path

from contracts import Command
from ops.asking import Asking
from ops.compose import Deployment

NOT_RECORDED = "Not recorded: --record KEY signs who ran it"


async def record_async(deployment: Deployment, key_name: str | Path, command: Command, subject: str) -> str:
    """The id of the event that records it. Raises NotAccepted, FileNotFoundError; the key needs the command's role."""
    [events] = await Asking(deployment, key_name)((command, subject))
    return str(events[0]["id"]) if events else ""


def record(deployment: Deployment, key_name: str | Path, command: Command, subject: str) -> str:
    """The same, for a command of the command line."""
    return asyncio.run(record_async(deployment, key_name, command, subject))
