"""The local broker, by its command line and for real: what an operator does to it, and what happens to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from ops.local import kafka
from ops.local.processes import Process, free_port, is_free
from ops.settings import Settings

SPACEOS = Path(sys.executable).parent / "spaceos"


def spaceos(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SPACEOS_HOME": str(home)}
    return subprocess.run([SPACEOS, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    kafka.stop(home)


def test_before_the_first_start_the_next_step_is_named(tmp_path: Path) -> None:
    asked = spaceos(tmp_path, "kafka", "address")

    assert asked.returncode == 69
    assert "spaceos kafka start" in asked.stderr
    assert json.loads(spaceos(tmp_path, "kafka", "status", "--json").stdout)["state"] == "absent"
    assert json.loads(spaceos(tmp_path, "kafka", "stop", "--json").stdout) == {"state": "stopped", "ran": False}


def test_start_outlives_its_command_and_may_be_said_twice(home: Path) -> None:
    first = spaceos(home, "kafka", "start", "--json")
    second = spaceos(home, "kafka", "start", "--json")
    status = spaceos(home, "kafka", "status", "--json")

    assert first.returncode == second.returncode == status.returncode == 0, first.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout)
    now = json.loads(status.stdout)
    assert now["state"] == "running"
    assert os.getsid(now["pid"]) != os.getsid(0)


def test_starts_at_once_start_one(tmp_path: Path) -> None:
    """Two would take each other's ports, and the one that is noted last hide the other."""
    pipes: dict[str, Any] = {"env": {**os.environ, "SPACEOS_HOME": str(tmp_path)}, "stdout": subprocess.PIPE, "text": True}
    starts = [subprocess.Popen([SPACEOS, "kafka", "start", "--json"], **pipes) for _ in range(3)]
    try:
        said = {start.communicate(timeout=100)[0] for start in starts}

        assert [start.returncode for start in starts] == [0, 0, 0]
        assert {json.loads(one)["address"] for one in said} == {kafka.address(tmp_path)}
        assert kafka.status(tmp_path).state == "running"
    finally:
        kafka.stop(tmp_path)


def test_a_port_that_somebody_takes_while_the_first_start_goes_on_is_given_up_for_another(tmp_path: Path) -> None:
    """Java takes a second from the choice of a port to listening on it."""
    ports = tmp_path / "kafka" / "ports.json"
    starting = subprocess.Popen([SPACEOS, "kafka", "start"], env={**os.environ, "SPACEOS_HOME": str(tmp_path)})
    try:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stolen = _wait_for_ports(ports)["controller"]
            thief.bind(("127.0.0.1", stolen))
            thief.listen()

            assert starting.wait(60) == 0

        assert stolen not in json.loads(ports.read_text()).values()
        assert kafka.status(tmp_path).state == "running"
    finally:
        kafka.stop(tmp_path)


def test_the_first_broker_that_is_stopped_leaves_its_classes_to_all_that_start_later(tmp_path: Path) -> None:
    """And an archive that is of no use to Java keeps no broker from starting."""
    there = kafka.jars(Settings().cache)
    (tmp_path / there.name).symlink_to(there)
    settings = Settings(cache=tmp_path)

    def life(home: Path) -> str:
        kafka.start(home, settings=settings)
        pid = kafka.status(home).pid
        said = Path(f"/proc/{pid}/cmdline").read_text()
        kafka.stop(home)
        return said

    first, second = life(tmp_path / "one"), life(tmp_path / "two")
    [archive] = tmp_path.glob("*.jsa")
    archive.unlink()
    archive.write_bytes(b"nothing")

    assert "ArchiveClassesAtExit" in first
    assert f"SharedArchiveFile={archive}" in second
    assert not (tmp_path / "one" / "kafka" / "classes.jsa").exists()
    assert "SharedArchiveFile" in life(tmp_path / "three")


def test_what_a_broker_had_written_of_its_classes_when_it_was_ended_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an archive may have a good head, and the next Java would read behind its end."""
    there = kafka.jars(Settings().cache)
    (tmp_path / there.name).symlink_to(there)
    monkeypatch.setattr(kafka, "STOP_SECONDS", 0.0)
    kafka.start(tmp_path / "home", settings=Settings(cache=tmp_path))
    (tmp_path / "home" / "kafka" / "classes.jsa").write_bytes(b"half")

    kafka.stop(tmp_path / "home")

    assert not list(tmp_path.glob("**/*.jsa"))


def test_a_chosen_port_is_chosen_by_nobody_else() -> None:
    """Two servers that start side by side, or one that is away for a minute while another starts."""
    port = free_port()

    chooser = f"from ops.local.processes import _held; print(_held({port}))"
    other = subprocess.run([sys.executable, "-c", chooser], capture_output=True, text=True, check=True)

    assert other.stdout == "None\n"
    assert is_free(port)


def test_only_this_machine_can_reach_it(home: Path) -> None:
    port = int(kafka.start(home).rpartition(":")[2])

    # All of 127.0.0.0/8 is this machine, but only 127.0.0.1 is listened on.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), 1)


def test_a_topic_that_nobody_declared_is_not_made(home: Path) -> None:
    """A made-up topic has the wrong partitions, and a stream would land in the wrong shard."""
    address = kafka.start(home)
    admin = AdminClient({"bootstrap.servers": address})

    producer = Producer({"bootstrap.servers": address, "message.timeout.ms": 1500})
    producer.produce("undeclared", b"lost")
    producer.flush(5)

    assert "undeclared" not in admin.list_topics(timeout=5).topics


def test_a_killed_broker_comes_back_with_its_data_at_its_address(home: Path) -> None:
    address = kafka.start(home)
    _create(address, "kept")
    _produce(address, "kept", b"still here")

    assert kafka.kill(home)
    state_after_kill = kafka.status(home).state
    again = spaceos(home, "kafka", "start", "--json")

    assert state_after_kill == "stopped"
    assert json.loads(again.stdout)["address"] == address
    assert _first(address, "kept") == b"still here"


def test_a_deleted_topic_can_be_made_anew_at_once(home: Path) -> None:
    address = kafka.start(home)
    _create(address, "wiped")
    _produce(address, "wiped", b"old")

    _delete(address, "wiped")
    _create(address, "wiped")
    _produce(address, "wiped", b"new")

    assert _first(address, "wiped") == b"new"


def test_a_pid_that_somebody_else_has_now_is_left_alone(home: Path) -> None:
    """Pids are used again: a stale file must not make `stop` kill a stranger."""
    kafka.start(home)
    kafka.stop(home)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        boot_and_start = (Process.of(os.getpid()) or pytest.fail("no process of ours")).birth
        (home / "kafka" / "pid").write_text(f"{stranger.pid} {boot_and_start}\n")

        assert kafka.status(home).state == "stopped"
        assert not kafka.stop(home)
        assert not kafka.kill(home)
        assert spaceos(home, "kafka", "start").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "not a pid", "1", "999999999 x"])
def test_a_pid_file_that_makes_no_sense_names_nobody(content: str, tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "pid").write_text(content)

    assert not kafka.stop(tmp_path)


def test_stop_ends_it_and_keeps_its_address(home: Path) -> None:
    address = kafka.start(home)
    pid = kafka.status(home).pid

    stopped = spaceos(home, "kafka", "stop", "--json")

    assert json.loads(stopped.stdout) == {"state": "stopped", "ran": True}
    assert pid is not None
    assert Process.of(pid) is None
    assert kafka.address(home) == address
    assert spaceos(home, "kafka", "status").returncode == 1


def test_a_taken_port_is_said_and_not_fought_for(home: Path) -> None:
    kafka.start(home)
    kafka.stop(home)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(kafka.address(home).rpartition(":")[2])))
        other.listen()

        start = spaceos(home, "kafka", "start")

    assert start.returncode == 69
    assert "another program listens" in start.stderr
    assert "ports.json" in start.stderr


def test_a_broker_that_cannot_start_shows_what_it_said_last(home: Path) -> None:
    kafka.start(home)
    kafka.stop(home)
    metadata = home / "kafka" / "data" / "meta.properties"
    sound = metadata.read_text()
    metadata.write_text(sound.replace("version=1", "version=77"))
    try:
        start = spaceos(home, "kafka", "start")
    finally:
        metadata.write_text(sound)

    assert start.returncode == 69
    assert "77" in start.stderr
    assert "server.log" in start.stderr
    assert "Traceback" not in start.stderr


def test_a_missing_or_old_java_is_named(tmp_path: Path) -> None:
    old = tmp_path / "old" / "bin" / "java"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_412\"' >&2\n")
    old.chmod(0o755)
    environment = {**os.environ, "SPACEOS_HOME": str(tmp_path / "home")}

    for java_home, said in ((tmp_path / "none", "there is none"), (tmp_path / "old", "is 8")):
        environment["SPACEOS_KAFKA_JAVA_HOME"] = str(java_home)
        start = subprocess.run([SPACEOS, "kafka", "start"], env=environment, capture_output=True, text=True, check=False)

        assert start.returncode == 69
        assert said in start.stderr


def test_a_suspended_broker_is_not_called_running(home: Path) -> None:
    """A process is no answer."""
    kafka.start(home)
    pid = kafka.status(home).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        # Its threads stop one after the other, and one of them may still answer.
        states = {kafka.status(home).state for _ in range(3)}
    finally:
        os.kill(pid, signal.SIGCONT)

    assert "starting" in states


def test_a_suspended_broker_can_be_stopped(home: Path) -> None:
    kafka.start(home)
    pid = kafka.status(home).pid
    assert pid is not None

    os.kill(pid, signal.SIGSTOP)
    kafka.stop(home)

    assert Process.of(pid) is None


def _create(address: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)


def _delete(address: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.delete_topics([topic])[topic].result(10)


def _produce(address: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def _first(address: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": address, "group.id": f"first-of-{topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        record = consumer.poll(20)
        return record.value() if record else None
    finally:
        consumer.close()


def _wait_for_ports(file: Path) -> dict[str, int]:
    for _ in range(3000):
        if file.exists() and (written := file.read_text()):
            found: dict[str, int] = json.loads(written)
            return found
        time.sleep(0.01)
    pytest.fail("no ports were chosen")
