"""Whoever waits for an outcome hears what the writer said of his bytes, and nothing that others wrote."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from adapters.kafka.commands import SignedCommand, sign_command, watching_outcomes
from adapters.kafka.topics import create_topics, topics_of
from adapters.keys import Signer, verify
from adapters.vouching import vouched_by
from contracts import encode_outcome, outcome_id
from contracts.identity import RevokeKey
from tests.adapters.audit.log import NETWORK, STRANGER, WRITER

PARTITIONS = 4


def asked() -> SignedCommand:
    subject = f"identity/key/{STRANGER.did}"
    return sign_command(RevokeKey(reason="retired"), subject, STRANGER, NETWORK)


def outcome(command: SignedCommand, refusal: str | None = None, signer: Signer = WRITER, **changes: Any) -> tuple[bytes, Any]:
    """Its bytes and headers."""
    data: dict[str, Any] = {"commandhash": sha256(command.value).hexdigest()}
    if refusal is None:
        data["events"] = []
    else:
        data["refusal"] = {"name": refusal, "text": "no"}
    value = encode_outcome(
        "Accepted" if refusal is None else "Refused", {**data, **changes}, id=outcome_id(STRANGER.did, command.id),
        source=signer.did, context="identity", subject=command.subject, time="2026-01-01T00:00:00.000000Z", network=NETWORK,
        correlationid=str(uuid4()), causationid=command.id, partition=0, sequence=0, actor=STRANGER.did,
    )  # fmt: skip
    return value, [] if refusal is None else [("signature", signer.sign(value).encode())]


@pytest.mark.parametrize("refusal", [None, "NotInRole"])
def test_only_what_the_writer_said_of_these_bytes_is_an_answer(kafka: str, refusal: str | None) -> None:
    command, client = asked(), {"bootstrap_servers": kafka}
    others = replace(command, value=command.value + b" ")
    genuine = outcome(command, refusal)
    strangers = [
        (b"\xff", []), (b"{}", []), (b"[1]", []), (b'{"data":7,"type":"identity.Accepted","causationid":[]}', []),
        outcome(command, "Forged", STRANGER), (outcome(command, "Unsigned")[0], []), outcome(others, "NotInRole"),
        outcome(others), outcome(command, events="none"), (outcome(command, "Stripped")[0], [("signature", b"ed25519:\xff")]),
    ]  # fmt: skip

    async def play() -> tuple[Any, Any]:
        await create_topics(topics_of(["identity"], [], PARTITIONS), client)
        vouch = vouched_by(NETWORK, [WRITER.did], verify)
        async with (
            watching_outcomes(client, ["identity"], PARTITIONS, vouch=vouch) as outcomes,
            AIOKafkaProducer(**client) as producer,
        ):
            for value, headers in strangers:
                await producer.send_and_wait("identity.outcomes", value, headers=headers)
            unanswered = await outcomes.wait_for([command], 1)
            await producer.send_and_wait("identity.outcomes", genuine[0], headers=genuine[1])
            return unanswered, await outcomes.wait_for([command], 20)

    unanswered, answered = asyncio.run(play())

    assert unanswered == {}
    assert answered[command.id].is_accepted == (refusal is None)
    assert (answered[command.id].refusal or {}).get("name") == refusal
