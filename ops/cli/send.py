"""`spaceos send`: sign commands from JSON lines, publish them, wait for what becomes of them."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import NETWORK, Exit, Failure, Json, answer, hint, table

if TYPE_CHECKING:
    from adapters.kafka.commands import Answer, SignedCommand
    from ops.compose import Deployment

_EXAMPLE = '{"type":"identity.RevokeKey","subject":"identity/key/did:key:z6Mk…","data":{"reason":"retired"}}'


def send(
    key: Annotated[str, typer.Option("--key", "-k", help="The name or file of the key that signs.")],
    file: Annotated[Path | None, typer.Argument(help="JSON lines; standard input without it.")] = None,
    timeout_seconds: Annotated[float, typer.Option(min=0.1, help="How long to wait for the outcomes.")] = 30,
    wait: Annotated[bool, typer.Option(help="Wait for the outcomes.")] = True,
    as_json: Json = False,
) -> None:
    """Sign and publish commands, one JSON object a line: type, subject, data; id, expires, streamversion if you like.

    Personal data is sealed before it is signed where a text stands as {"$seal": "text", "person": "name", "class": "none"}.
    Exit code 1 if one is refused, 69 if an outcome did not come in time (its command may still be accepted).
    """
    from adapters.keys import read_key
    from ops.asking import ask
    from ops.cli.key import find_key
    from ops.compose import deployment

    found = deployment("clients")
    signer = read_key(find_key(found.settings.keys, key))
    lines = (file.open("rb") if file else sys.stdin.buffer).read().splitlines()
    commands = [_command(found, signer, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    answers = asyncio.run(ask(found, commands, timeout_seconds if wait else 0))
    if as_json:
        for command in commands:
            answer(_shown(command, answers.get(command.id)))
    else:
        rows = [tuple(_shown(command, answers.get(command.id)).values()) for command in commands]
        table("Outcomes", ("command", "subject", "outcome", "reason", "events"), rows)
    missing = sum(command.id not in answers for command in commands) if wait else 0
    if missing:
        hint(
            "{} outcomes did not come in {:g} s; sending the same lines with their ids again is safe", missing, timeout_seconds
        )
        raise typer.Exit(Exit.UNAVAILABLE)
    if any(not found_answer.is_accepted for found_answer in answers.values()):
        raise typer.Exit(Exit.FOUND_WRONG)


def _command(found: "Deployment", signer: Any, number: int, line: bytes) -> "SignedCommand":
    from pydantic import ValidationError

    from adapters.kafka.commands import sign_command
    from contracts import BadDocument, UnknownType, command_class, instant, parse_strictly

    try:
        asked = parse_strictly(line)
        surplus = asked.keys() - {"type", "subject", "data", "id", "expires", "streamversion", "correlationid", "causationid"}
        if surplus:
            raise ValueError(f"{min(surplus)} is no field of a line")
        asked = _with_sealed(found, asked)
        command = command_class(asked["type"]).read(asked["data"])
        options: dict[str, Any] = {n: asked[n] for n in ("id", "streamversion", "correlationid", "causationid") if n in asked}
        if "expires" in asked:
            options["expires"] = instant(asked["expires"])
        return sign_command(command, asked["subject"], signer, found.network, **options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    except (BadDocument, UnknownType, ValueError) as error:
        problem = str(error)
    raise Failure(f"line {number}: {problem}", f"a line is like {_EXAMPLE}", exit_code=Exit.USAGE)


def _with_sealed(found: "Deployment", asked: dict[str, Any]) -> dict[str, Any]:
    """Texts that are marked with `$seal` are sealed under their person's key, for this command and no other."""
    from adapters.sealing import Place
    from contracts import uuid7
    from ops.sealing import Sealer, is_marked

    if not is_marked(asked["data"]):
        return asked
    asked = {"id": uuid7(), **asked}
    place = Place(found.network, asked["subject"], asked["id"], "")
    return {**asked, "data": asyncio.run(Sealer(found).seal_marked(asked["data"], place))}


def _shown(command: "SignedCommand", found: "Answer | None") -> dict[str, Any]:
    if found is None:
        return {"id": command.id, "subject": command.subject, "outcome": "unknown", "reason": None, "events": None}
    refusal: Mapping[str, Any] | None = found.refusal
    events: Iterable[Mapping[str, Any]] = found.document["data"].get("events", ())
    return {
        "id": command.id,
        "subject": command.subject,
        "outcome": "accepted" if found.is_accepted else "refused",
        "reason": f"{refusal['name']}: {refusal['text']}" if refusal else None,
        "events": " ".join(f"{event['shard']}:{event['sequence']}" for event in events) or None,
    }


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=NETWORK)(send)
