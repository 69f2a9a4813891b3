"""Records of other contexts, signed as the store's writer signs them, for commands to carry."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from adapters.keys import Signer, ed25519_signer
from contracts import (
    ZERO_HASH,
    Amount,
    CommandRecord,
    Event,
    EventId,
    Record,
    StreamName,
    event_id,
    parse_command,
    parse_event,
    rfc3339,
    uuid7,
)
from contracts.staking import Stake
from contracts.treasury import Held, HeldRecord, HoldId, Purpose
from tests.domain.staking import ACCOUNT

WRITER = ed25519_signer(bytes([7]) * 32)


@dataclass
class Elsewhere:
    """What other contexts recorded, and whether it is still there."""

    network: str = "test"
    writer: Signer = WRITER
    kept: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def record(self, event: Event, stream: str, at: datetime, **otherwise: Any) -> Record:
        """The next record of its context, of which `otherwise` says what is unlike those of the store."""
        return self._keep(self.signed(event, stream, at, **otherwise))

    def signed(self, event: Event, stream: str, at: datetime, by: Signer | None = None, network: str | None = None) -> Record:
        """As `record`, but nobody keeps it."""
        by, sequence = by or self.writer, len(self.kept)
        asked = CommandRecord.encode(
            event, subject=stream, source=by.did, network=network or self.network, id=uuid7(sequence, bytes(10)), time=at  # type: ignore[arg-type]
        )  # fmt: skip
        command = parse_command(asked, stream.encode(), [("signature", b"x")])
        value = Record.encode(
            event, id=event_id(by.did, command.id, 0), command=command, source=by.did, time=rfc3339(at),
            shard=f"{event.wire.context}.events/0", sequence=sequence, streamversion=1, prevhash=self._head(),
        )  # fmt: skip
        return parse_event(value, [("signature", by.sign(value).encode())])

    def stands(self, record: Record) -> bool:
        """As the worker asks its store."""
        return record.source == self.writer.did and self.kept.get((record.shard, record.sequence)) == record.value

    def held(
        self, units: int, stream: str, at: datetime, hold: str = "h-1", account: StreamName = ACCOUNT, **otherwise: Any
    ) -> Record:
        """The treasury holds so much for the stream."""
        said = Held(
            hold=HoldId(hold), amount=Amount.of("SPACE", units), purpose=Purpose(f"stake:{stream}"),
            expires_at=at + timedelta(hours=1),
        )  # fmt: skip
        return self.record(said, account, at, **otherwise)

    def stake(self, units: int, stream: str, at: datetime, hold: str = "h-1", account: StreamName = ACCOUNT) -> Stake:
        return carrying(self.held(units, stream, at, hold, account))

    def _head(self) -> str:
        last = next(reversed(self.kept.values()), None)
        return ZERO_HASH if last is None else sha256(last).hexdigest()

    def _keep(self, record: Record) -> Record:
        self.kept[record.shard, record.sequence] = record.value
        return record


def carrying(record: Record) -> Stake:
    return Stake(held=HeldRecord.of(record.value, record.signature))


def id_of(record: Record) -> EventId:
    return EventId(record.id)
