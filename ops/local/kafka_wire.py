"""Asking a broker without a client, which would take longer to import than the broker to answer."""

import socket
import struct
from io import BufferedIOBase
from typing import Final

from ops.local.kafka_config import Login

MOST_BYTES: Final = 1024 * 1024
"""Of an answer: whoever else listens there may say anything."""


def answers(where: str, user: Login | None = None, timeout_seconds: float = 2.0) -> bool:
    """Whether a broker lists itself as alive, so that topics can be made; an open port is not enough.

    Without a user it is one that speaks PLAINTEXT, else one that takes his password.
    """
    host, _, port = where.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout_seconds) as connection, connection.makefile("rwb") as wire:
            if user is not None:
                # SaslHandshake, version 1, and SaslAuthenticate, version 0: both answer with an error code first.
                proof = f"\0{user.name}\0{user.password}".encode()
                steps = ((17, 1, struct.pack(">h5s", 5, b"PLAIN")), (36, 0, struct.pack(">i", len(proof)) + proof))
                if any(struct.unpack(">h", _asked(wire, *step)[:2]) != (0,) for step in steps):
                    return False
            # Metadata, version 1, of no topic: an empty list.
            (brokers,) = struct.unpack(">i", _asked(wire, 3, 1, struct.pack(">i", 0))[:4])
    except (OSError, struct.error):
        return False
    return bool(brokers > 0)


def _asked(wire: BufferedIOBase, key: int, version: int, body: bytes) -> bytes:
    """The body of the answer. Raises OSError, struct.error where there is none."""
    # Length, api key, version, correlation id, no client id.
    wire.write(struct.pack(">ihhih", 10 + len(body), key, version, key, -1) + body)
    wire.flush()
    (length,) = struct.unpack(">i", wire.read(4))
    answer = wire.read(length) if 0 < length <= MOST_BYTES else b""
    if len(answer) != length or answer[:4] != struct.pack(">i", key):
        raise OSError("that is no answer of Kafka's")
    return answer[4:]
