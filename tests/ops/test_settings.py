"""Settings that are wrong are named; those that were not given follow from the others."""

from pathlib import Path

import pytest

from ops.settings import InvalidSettings, Settings, unknown_variables


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("SPACEOS_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("SPACEOS_KAFKA", "localhost", "must be host:port"),
        ("SPACEOS_STORE", "mysql://localhost/x", "must be postgresql://"),
        ("SPACEOS_STORE", "sqlite:///:memory:", "must be postgresql://"),
        ("SPACEOS_PARTITIONS", "0", "greater than or equal to 1"),
        ("SPACEOS_METRICS_PORT", "70000", "less than or equal to 65535"),
        ("SPACEOS_KAFKA_SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("SPACEOS_LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("SPACEOS_MIN_INSYNC_REPLICAS", "2", "at most SPACEOS_REPLICAS"),
        ("SPACEOS_KAFKA_SASL_USERNAME", "me", "SPACEOS_KAFKA_SECURITY_PROTOCOL"),
        ("SPACEOS_KAFKA_TLS_CA", "ca.pem", "SPACEOS_KAFKA_SECURITY_PROTOCOL"),
        ("SPACEOS_KAFKA_WORKERS", "worker", "must be principals as the broker names them"),
        ("SPACEOS_KAFKA_CLIENTS", "User:a;b", "must be principals as the broker names them"),
        ("SPACEOS_KAFKA_USER", "root", "'operator', 'worker', 'readers' or 'clients'"),
        ("SPACEOS_SETS", "decision_log", "must be name=reader,reader"),
        ("SPACEOS_SETS", "default=decision_log", "must be name=reader,reader"),
        ("SPACEOS_SETS", "slow=", "must be name=reader,reader"),
        ("SPACEOS_SETS", "slow=decision_log other=ledger,decision_log", "decision_log is named twice"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(variable: str, value: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSettings) as caught:
        Settings()

    line = str(caught.value)
    assert variable.rsplit("_", 1)[0] in line
    assert rule in line
    assert "\n" not in line


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEOS_STORE", "mysql://x")
    monkeypatch.setenv("SPACEOS_PARTITIONS", "many")

    with pytest.raises(InvalidSettings) as caught:
        Settings()

    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["SPACEOS_PARTITIONS", "SPACEOS_STORE"]


def test_a_password_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and logs travel further than an environment."""
    monkeypatch.setenv("SPACEOS_STORE", "oracle://me:hush@db/x")

    with pytest.raises(InvalidSettings) as caught:
        Settings()

    assert "hush" not in str(caught.value)
    assert "hush" not in repr(Settings(store="postgresql://me:hush@db/x"))


def test_everything_follows_from_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    assert settings.store == f"sqlite:///{tmp_path}/store.db"
    assert settings.views == f"sqlite:///{tmp_path}/views.db"
    assert settings.keys == tmp_path / "keys"


def test_a_home_means_the_same_folder_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings(home=Path("there")).home == tmp_path / "there"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_any_postgresql_url_is_read_by_psycopg(scheme: str) -> None:
    """Hosting services hand out the plain form, which SQLAlchemy takes for another driver."""
    settings = Settings(store=f"{scheme}://me@db:5432/space")

    assert settings.store == "postgresql+psycopg://me@db:5432/space"


def test_views_share_a_server_but_never_an_sqlite_file(tmp_path: Path) -> None:
    assert Settings(store="postgresql://db/space").views == "postgresql+psycopg://db/space"
    assert Settings(store=f"sqlite:///{tmp_path}/a.db", home=tmp_path).views == f"sqlite:///{tmp_path}/views.db"


def test_clients_get_the_passwords_that_were_set() -> None:
    options = Settings(
        kafka="one:9092,two:9092",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="me",
        kafka_sasl_password="hush",
    ).kafka_client_options()

    assert options == {
        "bootstrap_servers": "one:9092,two:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hush",
    }


def test_certificates_that_are_missing_are_named(tmp_path: Path) -> None:
    settings = Settings(kafka="one:9092", kafka_security_protocol="SSL", kafka_tls_ca=tmp_path / "none.pem")

    with pytest.raises(InvalidSettings, match="SPACEOS_KAFKA_TLS_CA"):
        settings.kafka_client_options()


def test_without_a_broker_the_next_step_is_named(tmp_path: Path) -> None:
    from ops.local.kafka import NotStarted

    with pytest.raises(NotStarted, match="spaceos kafka start"):
        Settings(home=tmp_path).kafka_client_options()


def test_a_variable_that_is_no_setting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEOS_KAFAK", "localhost:9092")
    monkeypatch.setenv("SPACEOS_DEBUG", "1")

    assert unknown_variables() == ["SPACEOS_KAFAK"]


def test_the_local_broker_is_secured_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEOS_KAFKA_SECURE", "1")
    monkeypatch.setenv("SPACEOS_KAFKA", "broker:9092")

    with pytest.raises(InvalidSettings, match="SPACEOS_KAFKA_SECURE is for the local broker"):
        Settings(home=tmp_path)


def test_a_name_of_a_certificate_is_one_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEOS_KAFKA_WORKERS", "User:CN=worker, O=Space OS; User:worker-2")

    assert Settings().kafka_workers == ("User:CN=worker, O=Space OS", "User:worker-2")


def test_a_command_has_its_own_user_where_no_setting_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from ops.compose import deployment

    of_itself = [deployment().settings.kafka_user, deployment("worker").settings.kafka_user]
    monkeypatch.setenv("SPACEOS_KAFKA_USER", "clients")

    assert of_itself == ["readers", "worker"]
    assert deployment("worker").settings.kafka_user == "clients"
