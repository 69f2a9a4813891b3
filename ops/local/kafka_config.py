"""The local broker's configuration: what every one has, and the doors of one that is secured.

A secured broker lets nobody in without a password, also not on the controller's listener, and asks an authorizer what
each may do. The passwords are random for each home, a file each that only its owner may read; the broker gets them in a file
of its own, since a command line and a log are read by others.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

User = Literal["operator", "worker", "readers", "clients"]
"""Whoever is let in. The operator may do everything."""
USERS: Final[tuple[User, ...]] = get_args(User)
BROKER: Final = "broker"
"""As whom the broker speaks to itself."""
_PASSWORD_BYTES: Final = 32
TRANSACTION_MS: Final = 10_000


class NoSuchUser(Exception):
    """The home has no password for that user."""


@dataclass(frozen=True)
class Login:
    """A user and his password."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


def login(folder: Path, user: str) -> Login:
    """As whom a process of this home is let in. Raises NoSuchUser."""
    try:
        return Login(user, _password_file(folder, user).read_text().strip())
    except FileNotFoundError:
        raise NoSuchUser(
            f"there is no password of {user} in {folder / 'users'}; SPACEOS_KAFKA_SECURE=1 spaceos kafka start makes them"
        ) from None


def make_users(folder: Path) -> None:
    """A password for each user who has none."""
    (folder / "users").mkdir(mode=0o700, exist_ok=True)
    for user in (BROKER, *USERS):
        if not _password_file(folder, user).exists():
            write_secret(_password_file(folder, user), secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")


def write_secret(path: Path, text: str) -> None:
    """Replaced whole, and at no moment to be read by others."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.touch(0o600, exist_ok=False)
    scratch.write_text(text)
    scratch.replace(path)


def is_secured(folder: Path) -> bool:
    """Whether the broker was started with users and an authorizer of ours, the last time that it was."""
    return login_file(folder).exists()


def login_file(folder: Path) -> Path:
    """What the broker's virtual machine reads its users from."""
    return folder / "users.jaas"


def login_text(folder: Path) -> str:
    """The users in Java's form. Passwords have letters, digits, - and _ only, so nothing is to be escaped."""
    broker = login(folder, BROKER)
    users = [f'user_{user}="{login(folder, user).password}"' for user in (BROKER, *USERS)]
    options = "\n  ".join([f'username="{broker.name}"', f'password="{broker.password}"', *users])
    return f"KafkaServer {{\n  org.apache.kafka.common.security.plain.PlainLoginModule required\n  {options};\n}};\n"


def properties(folder: Path, ports: Mapping[str, int], *, secured: bool) -> dict[str, str | int]:
    """The broker's server.properties."""
    name = "CLIENTS" if secured else "PLAINTEXT"
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{ports['controller']}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{name}://127.0.0.1:{ports['broker']},CONTROLLER://127.0.0.1:{ports['controller']}",
        "advertised.listeners": f"{name}://127.0.0.1:{ports['broker']}",
        "log.dirs": str(folder / "data"),
        # A topic that nobody declared has the wrong partitions: better an error than a stream in the wrong shard.
        "auto.create.topics.enable": "false",
        # Nothing is forgotten unless its topic says so.
        "log.retention.ms": -1,
        # A deleted topic's files go at once, not after a minute.
        "log.segment.delete.delay.ms": 1000,
        # One broker: there is nobody to replicate to, and few groups to spread.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        # We use none. A stranger's that stays open hides what follows it from readers of others, who ask for what is committed.
        "transaction.max.timeout.ms": TRANSACTION_MS,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        # A broker that was killed may register again only when its last session has run out.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 1000,
        # It is its own quorum: nobody lags behind it, and records that say nothing took a tenth of a core.
        "metadata.max.idle.interval.ms": 0,
        # Few clients, few cores: each thread that wakes for nothing is paid for when nothing happens.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
        # Groups form at once, and sessions of a few seconds are allowed, so that a dead reader is soon replaced.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        **(_SECURED if secured else {}),
    }  # fmt: skip


_SECURED: Final[Mapping[str, str]] = {
    # The controller takes rules and topics, too: left open, it would be a way round the other listener.
    "listener.security.protocol.map": "CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
    "inter.broker.listener.name": "CLIENTS",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "sasl.mechanism.controller.protocol": "PLAIN",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": f"User:{BROKER};User:operator",
}


LOGGING: Final = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log}
appender.file.filePattern = {log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %-5p %m (%c{{1}})%n
appender.file.policies.type = SizeBasedTriggeringPolicy
appender.file.policies.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


def _password_file(folder: Path, user: str) -> Path:
    return folder / "users" / user
