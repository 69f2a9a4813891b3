"""A cluster that wants certificates and a password is reached with the settings alone."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.doctor import Health, examine
from ops.local import kafka
from ops.local.processes import free_port
from ops.settings import Settings

BROKER = """
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={place}/broker.both.pem
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location={place}/client.pem
listener.name.secure.ssl.client.auth=required
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_me="hush";
"""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that reach a broker which asks for a certificate and a password."""
    place = tmp_path_factory.mktemp("secured")
    for name in ("broker", "client"):
        _certificate(place, name)
    (place / "broker.both.pem").write_text((place / "broker.key").read_text() + (place / "broker.pem").read_text())
    kafka.start(place)
    kafka.stop(place)
    plain = int(kafka.address(place).rpartition(":")[2])
    secure, controller = free_port(), _controller_port(place)
    extra = BROKER.format(plain=plain, controller=controller, secure=secure, place=place)
    (place / "kafka" / "extra.properties").write_text(extra)
    kafka.start(place)
    yield Settings(
        home=place,
        kafka=f"127.0.0.1:{secure}",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="me",
        kafka_sasl_password="hush",
        kafka_tls_ca=place / "broker.pem",
        kafka_tls_certificate=place / "client.pem",
        kafka_tls_key=place / "client.key",
    )
    kafka.stop(place)


def test_records_are_acknowledged(secured: Settings) -> None:
    async def send() -> int:
        admin = AIOKafkaAdminClient(**secured.kafka_client_options())
        await admin.start()
        await admin.create_topics([NewTopic("sealed", 1, 1)])
        await admin.close()
        async with AIOKafkaProducer(**secured.kafka_client_options()) as producer:
            return int((await producer.send_and_wait("sealed", b"value")).offset)

    assert asyncio.run(send()) == 0


def test_the_doctor_is_let_in(secured: Settings) -> None:
    assert _health(secured) is Health.OK


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_sasl_password": "guess"},
        {"kafka_tls_certificate": None, "kafka_tls_key": None},
        {"kafka_tls_ca": None},
        {"kafka_security_protocol": "PLAINTEXT"},
    ],
    ids=["wrong password", "no certificate", "unknown broker", "plaintext"],
)
def test_who_is_not_let_in_is_told(secured: Settings, wrong: dict[str, object]) -> None:
    values = secured.model_dump() | wrong
    if wrong.get("kafka_security_protocol"):
        values = {name: value for name, value in values.items() if not name.startswith(("kafka_sasl", "kafka_tls"))}

    assert _health(Settings(**values)) is Health.WRONG


def _health(settings: Settings) -> Health:
    return next(finding.health for finding in examine(settings) if finding.subject == "Kafka")


def _controller_port(home: Path) -> int:
    lines = (home / "kafka" / "server.properties").read_text().splitlines()
    voter = next(line for line in lines if line.startswith("controller.quorum.voters"))
    return int(voter.rpartition(":")[2])


def _certificate(place: Path, name: str) -> None:
    """A key and a certificate that it signed itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", place / f"{name}.key", "-out", place / f"{name}.pem"]
    subprocess.run(command, check=True, capture_output=True)
