"""What an operator may set, each as an environment variable that begins with SPACEOS_.

The environment is read here and nowhere else, so a setting that is wrong is found at the start and named.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ops.local.kafka_config import User

if TYPE_CHECKING:
    import ssl

PREFIX = "SPACEOS_"


class InvalidSettings(ValueError):
    """One line for every variable that breaks its rule: its name, the rule, and what was given."""


def _absolute(path: Path) -> Path:
    # A worker that is started in another folder must mean the same file.
    return path.expanduser().absolute()


def _brokers(addresses: str) -> str:
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}(,(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5})*", addresses):
        raise ValueError("must be host:port, or several of them with commas between")
    return addresses


def _database(url: str) -> str:
    """Any PostgreSQL URL as SQLAlchemy and psycopg 3 want it; SQLite only in a file."""
    if match := re.match(r"(postgres|postgresql|postgresql\+psycopg)://", url):
        return "postgresql+psycopg://" + url[match.end() :]
    # Several processes share the database, which one in memory could not be.
    if re.match(r"sqlite:///[^:?]", url):
        return url
    raise ValueError("must be postgresql://user:password@host:port/name or sqlite:///file")


def _sets(given: Any) -> Any:
    """`name=reader,reader name=reader` as a mapping."""
    if not isinstance(given, str):
        return given
    found: dict[str, tuple[str, ...]] = {}
    for word in given.split():
        name, _, readers = word.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name) or name == "default" or name in found or not readers.strip(","):
            raise ValueError("must be name=reader,reader with a space before the next; the rest is read by the set `default`")
        found[name] = tuple(filter(None, readers.split(",")))
    return found


def _disjoint(sets: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    readers = [reader for readers in sets.values() for reader in readers]
    if twice := sorted({reader for reader in readers if readers.count(reader) > 1}):
        raise ValueError(f"must name each reader once; {twice[0]} is named twice")
    return sets


def _principals(given: Any) -> Any:
    """`User:a;User:b` as a tuple: a name of a certificate has commas and spaces."""
    if not isinstance(given, str):
        return given
    found = tuple(principal.strip() for principal in given.split(";") if principal.strip())
    if not found or not all(re.fullmatch(r"[A-Za-z]+:[^'\x00-\x1f]+", principal) for principal in found):
        raise ValueError("must be principals as the broker names them, User:name, with ; between several")
    return found


Principals = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_principals)]
Sets = Annotated[Mapping[str, tuple[str, ...]], NoDecode, BeforeValidator(_sets), AfterValidator(_disjoint)]
Folder = Annotated[Path, AfterValidator(_absolute)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """One deployment's settings. Raises InvalidSettings."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    home: Folder = Field(default=Path(".spaceos"), validate_default=True)
    """The folder that holds all that is kept on this machine."""
    cache: Folder = Field(default=Path("~/.cache/spaceos"), validate_default=True)
    """Downloads that several homes share."""
    keys: Folder = Field(default_factory=lambda data: data["home"] / "keys")

    kafka: Annotated[str, AfterValidator(_brokers)] | None = None
    """Bootstrap servers; without them the local broker is meant."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_tls_ca: Folder | None = None
    kafka_tls_certificate: Folder | None = None
    kafka_tls_key: Folder | None = None
    kafka_java_home: Folder | None = None
    """Where the Java of the local broker is, if not JAVA_HOME or the PATH."""
    kafka_secure: bool = False
    """The local broker asks for passwords, which are made in the home, and keeps to its rules of who may do what."""
    kafka_user: User = "readers"
    """As whom a process is let in by a local broker that is secured. A command has its own where this is not set."""
    kafka_workers: Principals = ("User:worker",)
    """Who writes events and outcomes, as the broker names them; for the rules of `spaceos topics acls`."""
    kafka_readers: Principals = ("User:readers",)
    """Who reads events and sends what processes want."""
    kafka_clients: Principals = ("User:*",)
    """Who sends commands and raw facts; whoever is let in, unless they are named."""
    partitions: int = Field(default=4, ge=1, le=1000)
    replicas: int = Field(default=1, ge=1, le=100)
    min_insync_replicas: int = Field(default=1, ge=1, le=100)

    store: DatabaseUrl = Field(default_factory=lambda data: f"sqlite:///{data['home']}/store.db", repr=False)
    """Where the facts are."""
    views: DatabaseUrl = Field(default_factory=lambda data: _beside(data, "views"), repr=False)
    """Where the projections are."""
    audit: DatabaseUrl = Field(default_factory=lambda data: _beside(data, "audit"), repr=False)
    """Where the audit log is. Views can be made again, the log's sealed batches cannot."""
    vault: DatabaseUrl = Field(default_factory=lambda data: _beside(data, "vault"), repr=False)
    """Where the keys are under which personal data is sealed."""
    audit_domain: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?$", max_length=100)] = "audit.localhost"
    """The audit log's origin begins with it; it is chosen when a network begins."""
    audit_port: Port | None = None
    """Where the audit log is read by HTTP; without it nothing is served."""
    audit_host: str = "127.0.0.1"
    audit_readers: Folder | None = None
    """Who may read entries by HTTP: a line each of a bearer token's SHA-256, a space, the reader's DID."""
    audit_policy: Folder | None = None
    """A C2SP tlog-policy: the witnesses that cosign the log's heads, and the quorum that is enough."""
    postgres_bin: Folder | None = None
    """The folder of initdb and postgres for the local server."""

    outside: Literal["paper"] | None = None
    """The bank and the chain: `paper`, twins without money in files of the home; without it money's lists reach neither."""

    sets: Sets = Field(default_factory=dict)
    """Readers with processes of their own: `slow=decision_log money=ledger,treasury`. All others are read by `default`."""

    clock: Folder | None = None
    """A file of whole seconds by which a demonstration's clock differs from the machine's; only in a network named `dev`."""

    metrics_port: Port | None = None
    """Where Prometheus reads; without it nothing is served."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidSettings("\n".join(_explained(error))) from None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wants_sasl = self.kafka_security_protocol.startswith("SASL_")
        has_sasl = (self.kafka_sasl_mechanism, self.kafka_sasl_username, self.kafka_sasl_password)
        wants_tls = self.kafka_security_protocol.endswith("SSL")
        has_tls = (self.kafka_tls_ca, self.kafka_tls_certificate, self.kafka_tls_key)
        rules = {
            "SPACEOS_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD must all be set where "
            "SPACEOS_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT or SASL_SSL": not wants_sasl or None not in has_sasl,
            "SPACEOS_KAFKA_SASL_… needs SPACEOS_KAFKA_SECURITY_PROTOCOL to be SASL_PLAINTEXT or SASL_SSL": wants_sasl
            or not any(has_sasl),
            "SPACEOS_KAFKA_TLS_… needs SPACEOS_KAFKA_SECURITY_PROTOCOL to be SSL or SASL_SSL": wants_tls or not any(has_tls),
            "SPACEOS_KAFKA_TLS_KEY needs SPACEOS_KAFKA_TLS_CERTIFICATE": self.kafka_tls_certificate is not None
            or self.kafka_tls_key is None,
            "SPACEOS_KAFKA_SECURITY_PROTOCOL needs SPACEOS_KAFKA: the local broker takes SPACEOS_KAFKA_SECURE=1": self.kafka
            is not None
            or self.kafka_security_protocol == "PLAINTEXT",
            "SPACEOS_KAFKA_SECURE is for the local broker; to another, SPACEOS_KAFKA_SECURITY_PROTOCOL says the way": (
                self.kafka is None or not self.kafka_secure
            ),
            f"SPACEOS_MIN_INSYNC_REPLICAS must be at most SPACEOS_REPLICAS, which is {self.replicas}": (
                self.min_insync_replicas <= self.replicas
            ),
            # It drops the lock that orders events: a reader that tails the table then misses some without a word.
            "POSTGRES_ENABLE_DB_FUNCTIONS must not be set: eventsourcing loses events with it": not os.environ.get(
                "POSTGRES_ENABLE_DB_FUNCTIONS"
            ),
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError("\n".join(broken))
        return self

    def kafka_client_options(self, user: User | None = None) -> dict[str, Any]:
        """The keyword arguments that every aiokafka client takes. Raises ops.local.kafka.NotStarted, NoSuchUser.

        `user` is whom a local broker that is secured lets in, otherwise `kafka_user`; elsewhere it is who the settings say.
        """
        if self.kafka is None and self.kafka_secure:
            from ops.local import kafka

            return {"bootstrap_servers": self.kafka_address(), **kafka.client_options(self.home, user or self.kafka_user)}
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_address(),
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.kafka_sasl_mechanism and self.kafka_sasl_password:
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_sasl_username
            options["sasl_plain_password"] = self.kafka_sasl_password.get_secret_value()
        return options

    def kafka_address(self) -> str:
        """The brokers that were set, or the local one. Raises ops.local.kafka.NotStarted."""
        if self.kafka:
            return self.kafka
        from ops.local import kafka

        return kafka.address(self.home)

    def _ssl_context(self) -> "ssl.SSLContext":
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.kafka_tls_ca)
            if self.kafka_tls_certificate:
                context.load_cert_chain(self.kafka_tls_certificate, self.kafka_tls_key)
        except OSError as error:
            names = "SPACEOS_KAFKA_TLS_CA, _CERTIFICATE and _KEY"
            raise InvalidSettings(f"{names} must be PEM files that belong together: {error}") from None
        return context


# What is no setting of a deployment: for debugging, for the tests, and between a supervisor and its processes.
_BESIDE_SETTINGS = frozenset(
    f"{PREFIX}{name}" for name in ("DEBUG", "TEST_KAFKA", "TEST_POSTGRES", "CRASH", "SUSPEND", "HEARTBEAT_FD")
)


def known_variables() -> set[str]:
    """Every variable of this prefix that has an effect."""
    return {PREFIX + name.upper() for name in Settings.model_fields} | _BESIDE_SETTINGS


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none."""
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known_variables())


def _beside(data: dict[str, Any], name: str) -> str:
    # SQLite has one writer a file: views that shared the store's would make every decision wait for them.
    store: str = data["store"]
    return f"sqlite:///{data['home']}/{name}.db" if store.startswith("sqlite") else store


_MAY_HOLD_SECRETS = {"store", "views", "audit", "vault", "kafka_sasl_password"}


def _explained(error: ValidationError) -> list[str]:
    lines: list[str] = []
    for fault in error.errors(include_url=False):
        if fault["type"] == "default_factory_not_called":
            continue  # its own rule is not broken, but that of the setting it follows
        rule = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:
            lines.append(rule)
            continue
        given = "" if fault["loc"][0] in _MAY_HOLD_SECRETS else f", not {fault['input']!r}"
        lines.append(f"{PREFIX}{str(fault['loc'][0]).upper()}: {rule[0].lower()}{rule[1:]}{given}")
    return lines
