"""The authority table: begun by one genesis, upgraded in place, and with an answer for every moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from adapters.sql import engine_for, reading, schema
from adapters.sql.schema import upgrade
from adapters.sql.store import GenesisDiffers, Store
from adapters.views import Projector
from commands import Grant
from contracts import Did, Role, instant
from contracts.identity import EndedAuthority, HandedRole, KeyRegistered, KeyRevoked, KeyRotated, RoleGrant, RoleWithdrawn
from domain.identity.authority import BEGINNING, WRITER, Consent, Founding, WriterInterval
from projections.identity import is_entitled, is_revoked, key_registry, keys_with_role, writers, writers_at
from tests.adapters.shards import START
from tests.domain.given import did
from tests.projections.records import chain

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FAR = NOW + timedelta(days=300)
FOUNDING = Founding("a" * 64, ("a", "b", "c"), 2, 800_000, "consumer")
GRANTS = [Grant(key, "identity.root", "identity/", FAR) for key in "abc"]


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    upgrade(engine, "store")
    return Store(engine)


# The genesis


def test_the_genesis_is_taken_once_and_an_edited_one_plants_nothing(store: Store) -> None:
    store.begin(FOUNDING, GRANTS)
    store.begin(FOUNDING, [*GRANTS, Grant("thief", "store.writer", "", FAR)])
    edited = Founding("b" * 64, FOUNDING.roots, 2, 800_000, "consumer")

    with pytest.raises(GenesisDiffers, match="restore the file"):
        store.begin(edited, [*GRANTS, Grant("thief", "store.writer", "", FAR)])

    assert store.look(keys=["thief"]).authority == {}
    assert store.founding() == FOUNDING


def test_a_store_from_before_there_was_a_digest_takes_it_where_its_keys_agree(store: Store) -> None:
    store.plant(GRANTS)

    with pytest.raises(GenesisDiffers, match="other keys"):
        store.begin(FOUNDING, [*GRANTS, Grant("thief", "store.writer", "", FAR)])
    with pytest.raises(GenesisDiffers, match="other keys"):
        store.begin(FOUNDING, GRANTS[:2])
    assert store.founding() is None
    store.begin(FOUNDING, GRANTS)

    assert store.founding() == FOUNDING


# Upgrade in place

ROLE = {"role": "providers.gpu", "prefix": "providers/"}
HISTORY = [
    ("KeyProposed", {"key": "k", "roles": [ROLE], "proposal": "p", "proposed_by": "a", "person": "a"}),
    ("KeyRegistered", {"key": "k", "roles": [ROLE], "not_after": "2027-01-01T00:00:00.000000Z"}),
    ("KeyRotated", {"key": "k", "successor": "s", "roles": [ROLE], "not_after": "2027-01-01T00:00:00.000000Z",
                    "until": "2026-12-01T00:00:00.000000Z"}),
    ("RoleWithdrawn", {"key": "s", **ROLE}),
    ("KeyRevoked", {"key": "k", "reason": "retired"}),
]  # fmt: skip


def to(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS / "store"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def time(n: int) -> str:
    return f"2026-11-24T00:00:{n:02d}.000000Z"


def test_a_store_of_before_has_its_intervals_after_the_upgrade(engine: Engine) -> None:
    """What was deleted is found in the events: who had a role, until when, by whose consent."""
    to(engine, "0005")
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into shards (id, context, partition, next_sequence, last_hash, last_time, next_outcome, position,"
                " position_hash, incarnation) values (1, 'identity', 0, 5, '', '', 0, 0, '', 0)"
            )
        )
        for key, person in (("a", None), ("k", None), ("s", "k")):
            values = {"key": key, "person": person, "revoked": key == "k"}
            connection.execute(
                text(
                    "insert into authority_keys (key, person, revoked, shard, sequence)"
                    " values (:key, :person, :revoked, 'x', 0)"
                ),
                values,
            )
        connection.execute(
            text("insert into authority_grants values ('a', 'identity.registrar', 'identity/', :end, 'genesis', 0)"),
            {"end": "2027-06-01T00:00:00.000000Z"},
        )
        for n, (kind, data) in enumerate(HISTORY):
            value = orjson.dumps({"time": time(n), "data": data})
            connection.execute(
                text(
                    "insert into events (shard, sequence, stream, version, type, value, signature)"
                    " values (1, :n, 'identity/key/k', :n, :type, :value, '')"
                ),
                {"n": n, "type": f"identity.{kind}", "value": value},
            )

    upgrade(engine, "store")

    store = Store(engine)
    seen = store.look(keys=["a", "k", "s"]).authority
    assert [(g.role, g.since) for g in seen["a"].grants] == [("identity.registrar", BEGINNING)]
    assert (seen["s"].holder, seen["s"].follows, seen["s"].followed_at) == ("k", "k", instant(time(2)))
    assert seen["s"].grants == () == seen["k"].grants
    entitled = store.is_entitled
    for key, first, last in (("k", 1, 4), ("s", 2, 3)):
        found = [entitled(key, "providers.gpu", "providers/x", instant(time(n))) for n in range(6)]
        assert found == [first <= n <= last for n in range(6)]
    with reading(engine) as connection:
        consents = connection.execute(text("select consents from authority_grants where key = 'k'")).scalar_one()
        given = connection.execute(text("select by_key, key from authority_given order by by_key")).all()
    assert orjson.loads(consents) == [["a", "a"]]
    assert [tuple(row) for row in given] == [("a", "k"), ("k", "s")]


def test_a_row_is_ended_and_not_deleted(store: Store) -> None:
    from adapters.sql.driver import session
    from adapters.sql.granting import changed
    from commands import Limit, Withdrawal

    at = [NOW + timedelta(hours=n) for n in range(6)]
    by = (Consent("a", "a"),)
    history = [
        (Grant("k", "x.y", "x/", FAR, since=at[0], consents=by), "s", 0),
        (Grant("k", "x.y", "x/", FAR, since=at[2]), "s", 1),
        (Limit("k", "x.y", "x/", at[4]), "s", 2),
        (Withdrawal("k", at=at[3]), "s", 3),
    ]
    store.plant([Grant("k", "z.z", "z/", FAR)])

    with session(store.engine) as asking, asking.transaction():
        asking.ask(changed(history))

    found = [(interval.since, interval.until) for interval in store._intervals("x.y", "k")]
    assert found == [(at[0], at[2]), (at[2], at[3])]


# The view

FIRST, SECOND, THIRD = (did(name) for name in ("first", "second", "third"))
GENESIS = [WriterInterval(FIRST, "", BEGINNING, START + timedelta(days=300))]


def stream(key: Did) -> str:
    return f"identity/key/{key}"


def test_the_view_tells_who_might_sign_when(engine: Engine) -> None:
    """Genesis writers from the beginning; registered, handed over and ended ones for as long as they could."""
    upgrade(engine, "views")
    writer, end = RoleGrant(role=Role(WRITER), prefix="identity/"), START + timedelta(days=200)
    handed = HandedRole(role=Role(WRITER), prefix="identity/", not_after=end)
    history = [
        (stream(SECOND), KeyRegistered(key=SECOND, roles=(writer,), not_after=end)),
        (stream(SECOND), KeyRegistered(key=SECOND, roles=(writer,), not_after=end + timedelta(days=1))),
        (stream(SECOND), KeyRotated(key=SECOND, successor=THIRD, roles=(handed,), until=START + timedelta(seconds=9))),
        (stream(FIRST), RoleWithdrawn(key=FIRST, role=Role(WRITER), prefix="")),
        (stream(SECOND), KeyRevoked(key=SECOND, reason="compromised", ends=(EndedAuthority(key=THIRD),))),
    ]  # fmt: skip
    projector = Projector(engine, key_registry())
    projector.claim(["identity.events/0"])
    projector.apply({"identity.events/0": [_Held(n, value) for n, value in enumerate(chain("identity.events/0", history))]})

    at = [START + timedelta(seconds=n) for n in range(6)]
    with reading(engine) as connection:
        found = {(one.key, one.since, one.until) for one in writers(connection, GENESIS)}
        assert found == {
            (FIRST, BEGINNING, at[3]), (SECOND, at[0], at[1]), (SECOND, at[1], at[4]), (THIRD, at[2], at[4]),
        }  # fmt: skip
        assert {one.key for one in writers_at(at[2], connection, GENESIS)} == {FIRST, SECOND, THIRD}
        assert writers_at(at[5], connection, GENESIS) == []
        assert keys_with_role(WRITER, at[2], connection) == sorted({SECOND, THIRD})
        assert is_entitled(FIRST, WRITER, "treasury/account/x", BEGINNING, connection, GENESIS)
        assert not is_entitled(SECOND, WRITER, "treasury/account/x", at[2], connection, GENESIS)
        assert is_revoked(THIRD, connection)


class _Held:
    """A record as a consumer hands it over."""

    def __init__(self, offset: int, value: bytes) -> None:
        self.offset, self.value, self.key, self.headers = offset, value, b"", ()
