"""The doctor finds what is wrong with a machine and names the one thing to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from adapters.views.strangers import Strangers
from adapters.views.tables import strangers
from ops.doctor import Finding, Health, examine
from ops.settings import Settings

SPACEOS = Path(sys.executable).parent / "spaceos"


def found(subject: str, settings: Settings) -> Finding:
    return next(finding for finding in examine(settings) if finding.subject == subject)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr("ops.local.postgres.PACKAGED", str(tmp_path))


def test_a_machine_that_is_well_needs_no_broker_yet(tmp_path: Path) -> None:
    findings = list(examine(Settings(home=tmp_path)))

    assert {finding.health for finding in findings} == {Health.OK, Health.NOTE}
    assert found("Kafka", Settings(home=tmp_path)).remedy == "spaceos kafka start"
    assert list(tmp_path.iterdir()) == [], "looking changes nothing"


@pytest.mark.usefixtures("nothing_installed")
def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache")

    for subject, word in (("Java", "Java"), ("Maven", "Maven")):
        finding = found(subject, settings)
        assert finding.health is Health.WRONG
        assert word in str(finding.remedy)
    assert found("PostgreSQL", settings).health is Health.NOTE


@pytest.mark.usefixtures("nothing_installed")
def test_a_broker_elsewhere_needs_no_java_here(kafka: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", kafka=kafka)

    assert found("Java", settings).health is Health.NOTE
    assert found("Maven", settings).health is Health.OK
    assert found("Kafka", settings).health is Health.OK


def test_a_cluster_that_is_away_or_too_small_is_wrong(kafka: str, tmp_path: Path) -> None:
    away = found("Kafka", Settings(home=tmp_path, kafka="127.0.0.1:1"))
    small = found("Kafka", Settings(home=tmp_path, kafka=kafka, replicas=3))

    assert away.health is small.health is Health.WRONG
    assert "SPACEOS_KAFKA" in str(away.remedy)
    assert small.remedy == "export SPACEOS_REPLICAS=1"


def test_a_key_that_others_can_read_is_wrong(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.keys.mkdir()
    key = settings.keys / "registrar"
    key.touch(0o600)
    whole = found("keys", settings)

    key.chmod(0o640)
    open_to_others = found("keys", settings)

    assert whole.health is Health.OK
    assert open_to_others.health is Health.WRONG
    assert f"chmod 600 {key}" in str(open_to_others.remedy)


def test_a_store_that_answers_is_asked_whether_it_is_durable(store_url: str, tmp_path: Path) -> None:
    finding = found("store", Settings(home=tmp_path, store=store_url))

    assert finding.health is Health.OK


def test_a_store_that_forgets_commits_is_wrong(postgres_url: str, tmp_path: Path) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as session:
        name = sql.Identifier(session.info.dbname)
        session.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))

    finding = found("store", Settings(home=tmp_path, store=postgres_url))

    assert finding.health is Health.WRONG
    assert "synchronous_commit" in finding.said


def test_a_store_that_is_away_is_wrong_and_its_password_stays_secret(tmp_path: Path) -> None:
    finding = found("store", Settings(home=tmp_path, store="postgresql://me:hush@127.0.0.1:1/space"))

    assert finding.health is Health.WRONG
    assert "spaceos postgres start" in str(finding.remedy)
    assert "hush" not in repr(finding)


def test_a_file_that_is_no_database_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("a shopping list, and long enough to be read as a header of a database" * 20)

    assert found("store", Settings(home=tmp_path)).health is Health.WRONG


def test_a_misspelt_variable_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEOS_KAFAK", "broker:9092")

    assert "SPACEOS_KAFKA?" in str(found("settings", Settings(home=tmp_path)).remedy)


def test_programs_get_one_object_and_an_exit_code(tmp_path: Path) -> None:
    environment = {**os.environ, "SPACEOS_HOME": str(tmp_path), "SPACEOS_STORE": "postgresql://127.0.0.1:1/space"}

    asked = subprocess.run([SPACEOS, "doctor", "--json"], env=environment, capture_output=True, text=True, check=False)

    assert asked.returncode == 1
    assert asked.stdout.count("\n") == 1
    assert not json.loads(asked.stdout)["ok"]


def test_strangers_on_an_events_topic_are_wrong_for_a_day(store_url: str, tmp_path: Path) -> None:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    met = Strangers("readers.default")
    met.meet("treasury.events/3", {7: "no record of this shard", 9: "signed by nobody who was entitled"})
    with engine.begin() as connection:
        met.write(connection)
    settings = Settings(home=tmp_path, views=store_url)

    finding = found("treasury.events/3", settings)
    with engine.begin() as connection:
        connection.execute(strangers.update().values(seen="2026-01-01T00:00:00.000000Z"))
    later = found("treasury.events/3", settings)
    engine.dispose()

    assert (finding.health, later.health) == (Health.WRONG, Health.NOTE)
    assert finding.said.startswith("2 records were passed over, the last at offset 9")


def test_a_shard_that_is_closed_is_told_with_its_reason(tmp_path: Path) -> None:
    """Its worker lives, decides in the others, and says it once."""
    settings = Settings(home=tmp_path, store=f"sqlite:///{tmp_path}/store.db")
    engine = engine_for(settings.store)
    upgrade(engine, "store")
    shard, outbox = Store(engine).shard("identity", 2), Outbox(engine)
    outbox.close(shard.id, outbox.claim([shard.id])[shard.id], "identity.events/2 holds 9: it is an older copy")
    engine.dispose()

    told = found("shard", settings)

    assert told.health is Health.WRONG
    assert told.said == "identity/2 is closed: identity.events/2 holds 9: it is an older copy"
