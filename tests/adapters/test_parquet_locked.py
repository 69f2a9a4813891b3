"""Analysts' SQL on an export: it may ask anything of the export, and do nothing else."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.parquet import Opened, QueryFailed, QueryRefused, duck, open_export
from contracts.providers import ProviderDraining
from tests.adapters.exports import Chained, declared, exported
from tests.adapters.test_parquet import OFFER, contents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export, and beside it what is nobody's business."""
    shard = Chained()
    shard.append(declared(7), OFFER)
    shard.append(ProviderDraining(), "providers/provider/x")
    exported(tmp_path / "out", shard)
    exported(tmp_path / "out2", shard)
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    return tmp_path / "out"


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    with open_export(folder) as found:
        yield found


@pytest.fixture
def locked(folder: Path) -> Iterator[duck.Locked]:
    """DuckDB's own lock, without the judge in front of it."""
    found = duck.Locked()
    found.lock(folder)
    yield found
    found.close()


QUESTIONS = [
    "SELECT count(*) FROM events",
    "FROM events",
    "select type from events union select 'x' order by 1",
    "WITH a AS (SELECT 1 AS n) SELECT * FROM a, unnest([1, 2])",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
    "VALUES (1), (2)",
    "DESCRIBE events",
    "SUMMARIZE providers_offer_declared",
    "SHOW TABLES",
    "EXPLAIN SELECT * FROM events",
    "EXPLAIN ANALYZE SELECT * FROM events",
    "PIVOT events ON type IN ('providers.OfferDeclared') USING count(*)",
    "SELECT *, row_number() OVER (ORDER BY time) FROM events QUALIFY row_number() OVER (ORDER BY time) = 1;",
    "FROM '{folder}/manifest.json'",
    "FROM glob('{folder}/**')",
]

OUTSIDE = [
    "FROM '{beside}/secret.csv'",
    "FROM read_csv('{beside}/secret.csv')",
    "FROM '{folder}/../secret.csv'",
    "FROM read_text('/etc/passwd')",
    "FROM read_blob('file:/etc/passwd')",
    "FROM sniff_csv('{beside}/secret.csv')",
    "FROM parquet_metadata('{beside}/out2/**')",
    "FROM read_parquet('{beside}/out2/**/*.parquet')",
    "FROM glob('{beside}/*')",
    "FROM glob('/etc/*')",
    "FROM read_parquet('http://127.0.0.1:{port}/x.parquet')",
    "FROM 'http://127.0.0.1:{port}/x.csv'",
    "FROM 's3://bucket/x.parquet'",
    "COPY events TO '{beside}/x.parquet'",
    "COPY (SELECT 1) TO '{beside}/secret.csv'",
    "EXPORT DATABASE '{beside}/database'",
    "IMPORT DATABASE '{beside}'",
    "ATTACH '{beside}/other.db'",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'http://127.0.0.1:{port}'",
    "LOAD httpfs",
    "LOAD '{beside}/x.duckdb_extension'",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "CREATE TABLE t AS FROM read_text('/etc/passwd')",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET allowed_paths = ['/etc/passwd']",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET autoinstall_known_extensions = true",
    "SET autoload_known_extensions = true",
    "SET threads = 64",
    "PRAGMA threads = 64",
    "SET GLOBAL memory_limit = '64GB'",
    "RESET memory_limit",
    "SET temp_directory = '{beside}'",
    "SET log_query_path = '{beside}/log'",
    "SET python_enable_replacements = true",
    "CALL enable_logging(storage = 'file', storage_path = '{beside}/log')",
    "FROM enable_logging(storage = 'file', storage_path = '{folder}/log')",
    "FROM enable_profiling(save_location = '{folder}/profile')",
    "FROM folder",
]

INSIDE = [
    "COPY (SELECT 1) TO '{folder}/x.csv'",
    "WITH x AS (COPY (SELECT 1) TO '{folder}/x.csv') SELECT 1",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{folder}/x.csv') SELECT 1)",
    "SELECT 1 UNION (WITH x AS (COPY (SELECT 1) TO '{folder}/x.csv') SELECT 2)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/x.csv'",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{folder}/x.csv') SELECT 1",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{folder}/x.csv'",
    "FROM query('WITH x AS (COPY (SELECT 1) TO ''{folder}/x.csv'') SELECT 1')",
    "FROM system.main.QUERY('WITH x AS (COPY (SELECT 1) TO ''{folder}/x.csv'') SELECT 1')",
    "FROM json_execute_serialized_sql('{{}}')",
    "PREPARE p AS COPY (SELECT 1) TO '{folder}/x.csv'",
    "EXECUTE p",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/x.csv'",
    "EXPORT DATABASE '{folder}/x'",
    "ATTACH '{folder}/x.db'",
    "FROM pandas_scan(1)",
    "FROM arrow_scan(1, 2, 3)",
    "FROM checkpoint()",
    "FROM create_external_resource('x')",
    "FROM duckdb_secrets()",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE SECRET s (TYPE http)",
    "DROP VIEW events",
    "WITH x AS (INSERT INTO events VALUES (1) RETURNING *) FROM x",
    "DELETE FROM events",
    "LOAD json",
    "CALL pragma_version()",
    "SELECT",
    "",
    ";",
    "-- nothing",
]


def _filled(sql: str, folder: Path, port: int = 9) -> str:
    return sql.format(folder=folder, beside=folder.parent, port=port)


@pytest.mark.parametrize("sql", QUESTIONS)
def test_a_question_is_answered(opened: Opened, folder: Path, sql: str) -> None:
    assert opened.rows(_filled(sql, folder))


@pytest.mark.parametrize("sql", OUTSIDE + INSIDE)
def test_what_is_no_question_is_refused_and_changes_nothing(opened: Opened, folder: Path, sql: str) -> None:
    before = contents(folder.parent)

    with pytest.raises((QueryRefused, QueryFailed)):
        opened.rows(_filled(sql, folder))

    assert contents(folder.parent) == before
    assert opened.rows("SELECT count(*) FROM events") == [(2,)]


@pytest.mark.dependency
@pytest.mark.parametrize("sql", OUTSIDE)
def test_the_lock_holds_by_itself(locked: duck.Locked, folder: Path, sql: str) -> None:
    """Nothing outside the folder depends on the judge of the SQL alone: DuckDB itself says no."""
    before = contents(folder.parent)

    with pytest.raises(duck.Failed):
        list(locked.run(_filled(sql, folder))[1])

    assert contents(folder.parent) == before


@pytest.mark.dependency
def test_duckdb_would_write_into_the_folder(locked: duck.Locked, folder: Path) -> None:
    """Which is why there is a judge. When this fails, DuckDB has learned to read only."""
    list(locked.run(_filled("WITH x AS (COPY (SELECT 1) TO '{folder}/x.csv') SELECT 1", folder))[1])

    assert (folder / "x.csv").exists()


def test_nobody_is_asked_over_the_network(opened: Opened, locked: duck.Locked, folder: Path) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_listen, args=(server, heard), daemon=True).start()
        port = server.getsockname()[1]
        for sql in [sql for sql in OUTSIDE if "{port}" in sql]:
            with pytest.raises((QueryRefused, QueryFailed)):
                opened.rows(_filled(sql, folder, port))
            with pytest.raises(duck.Failed):
                list(locked.run(_filled(sql, folder, port))[1])
        with socket.create_connection(("127.0.0.1", port)) as own:
            own.sendall(b"own")
            assert own.recv(1) == b"."

    assert heard == [b"own"]


def _listen(server: socket.socket, heard: list[bytes]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            heard.append(connection.recv(1000))
            connection.sendall(b".")


def test_an_answer_that_needs_more_memory_than_there_is_fails_and_spills_nothing(opened: Opened, folder: Path) -> None:
    before = contents(folder.parent)

    with pytest.raises(QueryFailed):
        opened.rows("SELECT list(repeat('x', 1000000) || i) FROM range(4000) t(i)")

    assert contents(folder.parent) == before
    assert not Path(".tmp").exists()


def test_the_settings_are_those_that_were_promised(opened: Opened) -> None:
    names = ("threads", "memory_limit", "enable_external_access", "lock_configuration", "autoload_known_extensions", "TimeZone")
    found = dict(opened.rows(f"SELECT name, value FROM duckdb_settings() WHERE name IN {names}"))

    assert found == {
        "threads": "2", "memory_limit": "2.0 GiB", "enable_external_access": "false", "lock_configuration": "true",
        "autoload_known_extensions": "false", "TimeZone": "UTC",
    }  # fmt: skip
