"""Makes the outside checker's inputs: what databases and broker hold, as JSON lines in a folder. Imports nothing of ours.

    python -m ops.dumps FOLDER --store URL --views URL --kafka HOST:PORT --genesis FILE

`genesis.json`, `store.jsonl` and `views.jsonl` (a row a line: `table` and its columns), `topics.jsonl` (topic, partition,
offset, key, value, headers). Bytes are base64. Stop the load first: the dumps are not taken at one instant.
"""

import argparse
import asyncio
import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any


def dump(folder: Path, store: str, views: str | None, kafka: str | None, genesis: Path) -> None:
    """Write what the databases and the broker hold now. Raises FileNotFoundError."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.jsonl"):
        stale.unlink()
    (folder / "genesis.json").write_bytes(genesis.read_bytes())
    ordered = {"shards": "id", "events": "shard, sequence", "commands": "shard, number"}
    _dump_tables(folder / "store.jsonl", store, lambda names: [(name, ordered[name]) for name in ordered if name in names])
    if views is not None and _exists(views):
        not_views = {
            *ordered, "repeats", "snapshots", "shelf_entries", "authority_keys", "authority_grants", "relays", "deployment",
        }  # fmt: skip
        _dump_tables(folder / "views.jsonl", views, lambda names: [(name, "1") for name in sorted(set(names) - not_views)])
    if kafka is not None:
        asyncio.run(_dump_topics(folder / "topics.jsonl", kafka))


def _exists(url: str) -> bool:
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


Choose = Callable[[list[str]], list[tuple[str, str]]]


def _dump_tables(path: Path, url: str, choose: Choose) -> None:
    rows = _sqlite_rows(url, choose) if url.startswith("sqlite:///") else _postgres_rows(url, choose)
    with path.open("w") as file:
        for table, row in rows:
            plain = {name: _text(value) for name, value in row.items()}
            file.write(json.dumps({"table": table, **plain}) + "\n")


def _text(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _sqlite_rows(url: str, choose: Choose) -> Iterator[tuple[str, dict[str, Any]]]:
    import sqlite3

    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("begin")
        names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        for table, order in choose(names):
            for row in connection.execute(f'select * from "{table}" order by {order}'):  # noqa: S608
                yield table, dict(row)


def _postgres_rows(url: str, choose: Choose) -> Iterator[tuple[str, dict[str, Any]]]:
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(re.sub(r"^postgresql\+psycopg:", "postgresql:", url)) as connection:
        connection.execute("set transaction isolation level repeatable read")
        found = connection.execute("select tablename from pg_tables where schemaname = current_schema()").fetchall()
        for table, order in choose([row[0] for row in found]):
            with connection.cursor(name="dump", row_factory=dict_row) as cursor:
                for row in cursor.execute(f'select * from "{table}" order by {order}'.encode()):  # noqa: S608
                    yield table, row


async def _dump_topics(path: Path, kafka: str) -> None:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    partitions = await _partitions(kafka)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=50,
        max_poll_records=10_000,
    )  # fmt: skip
    await consumer.start()
    try:
        with path.open("w") as file:
            for topic, numbers in sorted(partitions.items()):
                places = [TopicPartition(topic, n) for n in sorted(numbers)]
                consumer.assign(places)
                ends = await consumer.end_offsets(places)
                for place, offset in (await consumer.beginning_offsets(places)).items():
                    consumer.seek(place, offset)
                while left := [place for place in places if await consumer.position(place) < ends[place]]:
                    for records in (await consumer.getmany(*left, timeout_ms=500)).values():
                        for record in records:
                            file.write(json.dumps(_record(record)) + "\n")
    finally:
        await consumer.stop()


async def _partitions(kafka: str) -> dict[str, list[int]]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if re.fullmatch(r"\w+\.(commands|events|outcomes)", name)]
        described = await admin.describe_topics(topics) if topics else []
        return {topic["topic"]: [part["partition"] for part in topic["partitions"]] for topic in described}
    finally:
        await admin.close()


def _record(record: Any) -> dict[str, Any]:
    return {
        "topic": record.topic, "partition": record.partition, "offset": record.offset, "key": _text(record.key),
        "value": _text(record.value), "headers": [[name, _text(value)] for name, value in record.headers],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", required=True, help="sqlite:///FILE or postgresql://…")
    parser.add_argument("--views")
    parser.add_argument("--kafka", help="host:port")
    parser.add_argument("--genesis", type=Path, required=True)
    options = parser.parse_args(arguments)
    dump(options.folder, options.store, options.views, options.kafka, options.genesis)
    return 0


if __name__ == "__main__":
    sys.exit(main())
