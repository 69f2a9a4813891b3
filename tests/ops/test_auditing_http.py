"""What the log's HTTP server believes: a token's line as it is now, and a read that the writer has recorded."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.auditing_http import Tokens, recorded
from tests.independent.history import GPU, NETWORK, PROCESS, STRANGER, WRITER, Event, History

LINE = f"{hashlib.sha256(b'token').hexdigest()} did:key:zReader\n"


@dataclass
class Delivered:
    value: bytes
    headers: list[tuple[str, bytes]]
    topic: str = "audit.events"


def vouch(document: Any, value: bytes, headers: Any) -> bool:
    from adapters.keys import verify

    return document["source"] == WRITER.did and verify(WRITER.did, value, dict(headers)["signature"].decode())


def test_a_token_counts_as_long_as_its_line_is_in_the_file(tmp_path: Path) -> None:
    """Whoever deletes the line need not start anything again."""
    path = tmp_path / "readers"
    found = Tokens(path)
    states = []

    for text in (None, "", LINE, "garbage\n" + LINE + "short did:key:zOther\n", ": >\n"):
        if text is not None:
            path.write_text(text)
        states.append(dict(asyncio.run(found())))

    expected = {LINE.split()[0]: "did:key:zReader"}
    assert states == [{}, {}, expected, expected, {}]
    assert asyncio.run(Tokens(None)()) == {}


def served(history: History, **wrong: Any) -> Event:
    event = ("audit.LogRead", {"reader": GPU.did})
    return history.ask(PROCESS, "audit.RecordServed", "audit/reads/2026-01-01", [event], **wrong)[0]


def test_a_read_is_recorded_when_the_writer_says_so_of_the_servers_own_command() -> None:
    """Whoever can write to the topics can write an acceptance, which is not signed, and an event of his own."""
    history = History()
    true, forged = served(history), served(history, writer=STRANGER)
    of_another = history.ask(GPU, "audit.RecordRead", "audit/reads/2026-01-01", [("audit.LogRead", {})])[0]
    records = [
        Delivered(event.value, [("signature", signer.sign(event.value).encode())])
        for event, signer in ((true, WRITER), (forged, STRANGER), (of_another, WRITER))
    ]
    altered = orjson.dumps({**true.document, "data": {"reader": STRANGER.did}})
    records += [Delivered(altered, records[0].headers), Delivered(b"{}", []), Delivered(b"", [])]

    found = [recorded(record, PROCESS.did, vouch) for record in records]  # type: ignore[arg-type]

    assert found == [true.document["causationid"], None, None, None, None, None]
    assert NETWORK == "test"


def test_nothing_is_served_while_nothing_is_heard(tmp_path: Path) -> None:
    from ops.auditing_http import NotRecorded, Reads

    reads = Reads.__new__(Reads)
    reads._is_hearing = False

    with pytest.raises(NotRecorded):
        asyncio.run(reads.record("did:key:zReader", 0, 1))
