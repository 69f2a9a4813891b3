"""Keep who might act when: rows of roles are ended, never deleted, and say who consented.

What was deleted before is found in the events, which are told once more here, in the words that they had until now.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BEGINNING = "0001-01-01T00:00:00.000000Z"
_EVENTS = """
select shards.context, shards.partition, events.sequence, events.type, events.value
from events join shards on shards.id = events.shard where shards.context = 'identity' and events.type like 'identity.%'
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("authority_keys", sa.Column("follows", sa.String(length=90)))
    op.add_column("authority_keys", sa.Column("followed_at", sa.String(length=30)))
    op.drop_index("authority_grants_role", table_name="authority_grants")
    op.rename_table("authority_grants", "authority_grants_before")
    if connection.dialect.name == "postgresql":
        op.execute("alter table authority_grants_before drop constraint authority_grants_pkey")
    grants = op.create_table(
        "authority_grants",
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("role", sa.String(length=60), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("not_after", sa.String(length=30), nullable=False),
        sa.Column("ended", sa.String(length=30), nullable=True),
        sa.Column("consents", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["key"], ["authority_keys.key"]),
        sa.PrimaryKeyConstraint("key", "role", "prefix", "shard", "sequence"),
        comment="Intervals: a row is ended, never deleted, so that whether a key was entitled at a time has an answer.",
    )
    op.create_index("authority_grants_role", "authority_grants", ["role"], unique=False)
    given = op.create_table(
        "authority_given",
        sa.Column("by_key", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("by_key", "key"),
        comment="To whose roles a key consented, or who took its place, and when last.",
    )
    told = _Told(connection)
    for row in sorted(map(_read, connection.execute(sa.text(_EVENTS))), key=lambda row: row[:3]):
        told.tell(*row)
    if told.rows:
        op.bulk_insert(grants, told.rows)
    if told.given:
        op.bulk_insert(given, [{"by_key": by, "key": key, "since": at} for (by, key), at in told.given.items()])
    for key, (before, at) in told.follows.items():
        connection.execute(
            sa.text("update authority_keys set follows = :before, followed_at = :at where key = :key"),
            {"before": before, "at": at, "key": key},
        )
    op.drop_table("authority_grants_before")


def _read(row: Any) -> tuple[str, str, int, str, dict[str, Any]]:
    document = orjson.loads(bytes(row.value))
    return document["time"], f"identity.events/{row.partition}", row.sequence, row.type, document["data"]


class _Told:
    """The rows of roles as the events of identity make them, of their first versions."""

    def __init__(self, connection: sa.Connection) -> None:
        self.rows: list[dict[str, Any]] = []
        self.given: dict[tuple[str, str], str] = {}
        self.follows: dict[str, tuple[str, str]] = {}
        self._open: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._consents: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._last: dict[str, list[tuple[str, str]]] = {}
        # What the genesis gave and was replaced or withdrawn since is in no event, and not known any more.
        before = connection.execute(sa.text("select * from authority_grants_before where shard = 'genesis'"))
        for row in before.all():
            self._grant(row.key, row.role, row.prefix, "genesis", row.sequence, _BEGINNING, row.not_after, [])

    def tell(self, time: str, shard: str, sequence: int, kind: str, data: dict[str, Any]) -> None:
        place = (shard, sequence, time)
        match kind:
            case "identity.Founded":
                until = (datetime.fromisoformat(time) + timedelta(days=366)).astimezone(UTC).replace(tzinfo=None)
                for root in data["roots"]:
                    end = until.isoformat(timespec="microseconds") + "Z"
                    self._grant(root, "identity.registrar", "identity/", *place, end, [])
            case "identity.KeyProposed":
                by = (data["proposed_by"], data.get("person") or data["proposed_by"])
                self._consents[data["key"], data["proposal"]] = self._last[data["key"]] = [by]
            case "identity.KeyApproved":
                consents = self._consents.setdefault((data["key"], data["proposal"]), [])
                consents.append((data["approved_by"], data.get("person") or data["approved_by"]))
                self._last[data["key"]] = consents
            case "identity.KeyRegistered":
                for role in data["roles"]:
                    consents = self._last.get(data["key"], [])
                    self._grant(data["key"], role["role"], role["prefix"], *place, data["not_after"], consents)
            case "identity.KeyRotated":
                self._rotated(data, place)
            case "identity.RoleWithdrawn":
                self._end(self._open.pop((data["key"], data["role"], data["prefix"]), None), time)
            case "identity.KeyRevoked":
                for name in [name for name in self._open if name[0] == data["key"]]:
                    self._end(self._open.pop(name), time)
            case _:
                pass

    def _rotated(self, data: dict[str, Any], place: tuple[str, int, str]) -> None:
        key, successor = data["key"], data["successor"]
        self.follows.setdefault(successor, (key, place[2]))
        self.given[key, successor] = place[2]
        for role in data["roles"]:
            self._grant(successor, role["role"], role["prefix"], *place, data["not_after"], [])
            if (before := self._open.get((key, role["role"], role["prefix"]))) is not None:
                before["not_after"] = min(before["not_after"], data["until"])

    def _grant(
        self,
        key: str,
        role: str,
        prefix: str,
        shard: str,
        sequence: int,
        since: str,
        until: str,
        consents: list[tuple[str, str]],
    ) -> None:
        row = {
            "key": key, "role": role, "prefix": prefix, "shard": shard, "sequence": sequence, "since": since,
            "not_after": until, "ended": None, "consents": orjson.dumps(consents).decode() if consents else None,
        }  # fmt: skip
        before = self._open.get((key, role, prefix))
        if before is not None and (before["shard"], before["sequence"]) == (shard, sequence):
            before.update(row)
            return
        self._end(before, since)
        self._open[key, role, prefix] = row
        self.rows.append(row)
        self.given |= {(by, key): since for by, _ in consents}

    @staticmethod
    def _end(row: dict[str, Any] | None, time: str) -> None:
        if row is not None:
            row["ended"] = time
