"""The ledger: value events posted in double entry into SQL, against a loop that only reads their JSON and adds it up."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from sqlalchemy import Engine

from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.views import Projector
from contracts import ZERO_HASH, Amount, CommandRecord, Record, event_id, rfc3339, uuid7
from contracts.treasury import Captured, Credited, HoldId, LedgerAccount, Purpose, Reference
from ops.bench import Measure, judged, rate
from ops.bench._events import Delivered
from ops.bench._servers import postgres
from projections.ledger import ledger

EVENTS = 40_000
ACCOUNTS = 2_000
CHUNK = 500
ROUNDS = 3
SHARD = "treasury.events/0"
WRITER = "did:key:z6Mk" + "w" * 44


def measures() -> Iterator[Measure]:
    """Every event has two legs: two balances that change and two entries that are new."""
    values = _values()
    with TemporaryDirectory() as folder, postgres() as create:
        for name, make in (("SQLite", lambda n: f"sqlite:///{Path(folder)}/{n}.db"), ("PostgreSQL", create)):
            ours = [2 * rate(EVENTS, lambda n=n, make=make: _post(_open(make(f"ledger{n}")), values)) for n in range(ROUNDS)]  # type: ignore[misc]
            bare = [2 * rate(EVENTS, lambda: _add_up(values)) for _ in range(ROUNDS)]
            yield judged(
                f"postings on {name}, chain verified, in batches of {CHUNK} / a loop that adds up the same JSON", ours, bare,
                unit="postings/s", goal="shown", is_met=lambda _ratio, _rate: True,
            )  # fmt: skip


def _values() -> list[bytes]:
    found, prevhash, now = [], ZERO_HASH, datetime.now(UTC)
    for n in range(EVENTS):
        account = f"treasury/account/a{n % ACCOUNTS}.USD.s"
        command = CommandRecord(
            value=b"", signature="", hash="0" * 64, id=uuid7(), source=WRITER, type="", subject=account, network="bench",
            dataschema="", time=now, expires=None, correlationid=None, causationid=None, streamversion=None, data={},
        )  # fmt: skip
        value = Record.encode(
            _event(n), id=event_id(WRITER, command.id, 0), command=command, source=WRITER, sequence=n, shard=SHARD,
            time=rfc3339(now + timedelta(microseconds=n)), streamversion=n // ACCOUNTS + 1, prevhash=prevhash,
        )  # fmt: skip
        prevhash = hashlib.sha256(value).hexdigest()
        found.append(value)
    return found


def _event(n: int) -> Credited | Captured:
    amount = Amount.of("USD.s", 10**15 + n)
    if n % 2:
        nothing, purpose = Amount.of("USD.s", 0), Purpose("inference")
        return Captured(
            hold=HoldId(f"h{n}"), amount=amount, counter=LedgerAccount("fees:clearing"), returned=nothing, purpose=purpose
        )
    return Credited(amount=amount, counter=LedgerAccount("holders"), reference=Reference(f"r{n}"))


def _open(url: str) -> Engine:
    engine = engine_for(url)
    upgrade(engine, "views")
    return engine


def _post(engine: Engine, values: Sequence[bytes]) -> None:
    projector = Projector(engine, ledger())
    projector.claim([SHARD])
    for start in range(0, len(values), CHUNK):
        chunk = [Delivered(n, value) for n, value in enumerate(values[start : start + CHUNK], start)]
        projector.apply({SHARD: chunk})
    engine.dispose()


def _add_up(values: Sequence[bytes]) -> Counter[str]:
    held: Counter[str] = Counter()
    for value in values:
        document = orjson.loads(value)
        data = document["data"]
        units = int(data["amount"]["units"])
        held[document["subject"]] += units
        held[data.get("counter", "")] -= units
    return held
