"""What is wrong with this machine or with these settings, and the one command that mends it."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.locks import holders
from contracts import rfc3339
from ops.local import kafka, postgres
from ops.local.processes import is_free
from ops.settings import Settings, known_variables, unknown_variables

if TYPE_CHECKING:
    from adapters.kafka.acls import Compared

# A broker's segments and a database's log take this much before there is a single fact in them.
BYTES_NEEDED = 1_000_000_000
BYTES_COMFORTABLE = 5_000_000_000


class Health(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Not needed by these settings, or about to happen by itself."""
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    subject: str
    health: Health
    said: str
    remedy: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """One finding or several a check, in the order in which one would mend them."""
    for check in CHECKS:
        yield from check(settings)


def _variables(_: Settings) -> Iterator[Finding]:
    for name in unknown_variables():
        meant = get_close_matches(name, known_variables(), n=1)
        remedy = f"unset {name}" + (f", or did you mean {meant[0]}?" if meant else "")
        yield Finding("settings", Health.NOTE, f"{name} is no setting and has no effect", remedy)


def _python(_: Settings) -> Iterator[Finding]:
    yield Finding("Python", Health.OK, f"{'.'.join(map(str, sys.version_info[:3]))} in {sys.prefix}")


def _java(settings: Settings) -> Iterator[Finding]:
    try:
        java = kafka.find_java(settings)
    except kafka.JavaMissing as missing:
        needed = Health.NOTE if settings.kafka else Health.WRONG
        yield Finding("Java", needed, str(missing).partition(";")[0], _install("default-jre-headless", "Java 17 or later"))
    else:
        yield Finding("Java", Health.OK, f"{kafka.java_version(java)} in {java}")


def _maven(settings: Settings) -> Iterator[Finding]:
    if shutil.which("mvn"):
        yield Finding("Maven", Health.OK, "fetches the local broker's jars")
    elif kafka.jars_are_here(settings.cache) or settings.kafka:
        yield Finding("Maven", Health.OK, "absent, and not needed: there is a broker already")
    else:
        yield Finding("Maven", Health.WRONG, "there is no mvn to fetch the local broker's jars", _install("maven", "Maven"))


def _postgresql(settings: Settings) -> Iterator[Finding]:
    try:
        programs = postgres.find_programs(settings)
    except postgres.PostgresMissing as missing:
        said = f"{str(missing).partition(';')[0]}; only `spaceos postgres` and the tests need it"
        yield Finding("PostgreSQL", Health.NOTE, said, _install("postgresql", "PostgreSQL"))
    else:
        yield Finding("PostgreSQL", Health.OK, f"{postgres.release_of(programs)} in {programs}")


def _home(settings: Settings) -> Iterator[Finding]:
    existing = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = f"set SPACEOS_HOME to a folder of yours, or: chown {os.getuid()} {existing}"
        yield Finding("home", Health.WRONG, f"{existing} cannot be written to", remedy)
        return
    if settings.home.exists() and stat.S_IMODE(settings.home.stat().st_mode) & 0o077:
        yield Finding("home", Health.WRONG, f"{settings.home} can be entered by others", f"chmod 700 {settings.home}")
        return
    free = shutil.disk_usage(existing).free
    said = f"{settings.home}, {free / 1e9:.1f} GB free"
    if free < BYTES_NEEDED:
        remedy = "free some space, or set SPACEOS_HOME to a folder on another disk"
        yield Finding("home", Health.WRONG, f"{said}; at least {BYTES_NEEDED / 1e9:.0f} GB are needed", remedy)
    else:
        yield Finding("home", Health.OK if free >= BYTES_COMFORTABLE else Health.NOTE, said)


def _keys(settings: Settings) -> Iterator[Finding]:
    files = [file for file in settings.keys.rglob("*") if file.is_file()] if settings.keys.is_dir() else []
    loose = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    for file in loose:
        said = f"{file} can be read by others (mode {stat.S_IMODE(file.stat().st_mode):o})"
        yield Finding(
            "keys", Health.WRONG, said, f"chmod 600 {file}, and replace the key if anybody else has been on this machine"
        )
    if not loose:
        yield Finding("keys", Health.OK, f"{len(files)} in {settings.keys}, for nobody else's eyes")


def _running(settings: Settings) -> Iterator[Finding]:
    for holder in holders(settings.home / "locks"):
        yield Finding("processes", Health.OK, f"{holder.what} runs: {holder}")


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.kafka:
        yield _cluster(settings)
        return
    now = kafka.status(settings.home)
    match now.state:
        case "running" | "starting" if kafka.asks_for_passwords(settings.home) != settings.kafka_secure:
            said, remedy = _other_doors(settings)
            yield Finding("Kafka", Health.WRONG, said, remedy)
        case "running":
            yield Finding("Kafka", Health.OK, f"answers at {now.address}")
        case "starting":
            said = f"pid {now.pid} does not answer at {now.address}; its log is {settings.home}/kafka/server.log"
            yield Finding("Kafka", Health.WRONG, said, "spaceos kafka stop && spaceos kafka start")
        case "stopped" if _taken(now.address):
            said = f"another program listens on {now.address}"
            yield Finding("Kafka", Health.WRONG, said, f"end it, or: rm {settings.home}/kafka/ports.json")
        case _:
            yield Finding("Kafka", Health.NOTE, f"the local broker is {now.state}", "spaceos kafka start")


def _other_doors(settings: Settings) -> tuple[str, str]:
    """What keeps our clients out of the broker that runs, and what lets them in."""
    if settings.kafka_secure:
        return "the broker asks nobody for a password, and SPACEOS_KAFKA_SECURE=1", "spaceos kafka stop && spaceos kafka start"
    return "the broker asks for passwords, and SPACEOS_KAFKA_SECURE is not set", "export SPACEOS_KAFKA_SECURE=1"


def _doors(settings: Settings) -> Iterator[Finding]:
    """Whether the bus keeps strangers from writing to it, and lets ours do what they must."""
    import asyncio

    from aiokafka.errors import KafkaError

    from adapters.kafka.acls import NoAuthorizer, NotAllowed
    from ops.compose import Deployment
    from ops.doors import compared

    if not (settings.kafka or kafka.status(settings.home).state == "running") or not (settings.home / "genesis.json").exists():
        return
    try:
        found = asyncio.run(asyncio.wait_for(compared(Deployment(settings)), 15))
    except NoAuthorizer:
        said = "whoever reaches the broker may write to every topic; what is not signed is believed by nobody"
        remedy = "SPACEOS_KAFKA_SECURE=1" if settings.kafka is None else "an authorizer on each broker"
        yield Finding("doors", Health.NOTE, said, f"{remedy} keeps strangers out, see ops/doors.md")
    except NotAllowed as error:
        yield Finding("doors", Health.NOTE, f"unknown: {error}", "ask as a super user: spaceos topics acls --check")
    except (KafkaError, OSError, TimeoutError, ValueError):
        # What is said of Kafka itself tells.
        return
    else:
        yield _told(found, settings)


def _told(found: "Compared", settings: Settings) -> Finding:
    way = "SASL_PLAINTEXT on the loopback interface" if settings.kafka is None else settings.kafka_security_protocol
    said = f"the broker has an authorizer ({way}) and "
    if found.missing:
        said += f"lacks {len(found.missing)} rules, the first that {found.missing[0].text}"
        return Finding("doors", Health.WRONG, said, "spaceos topics acls --apply")
    if found.others:
        said += f"has {len(found.others)} rules besides ours, the first that {found.others[0].text}"
        return Finding("doors", Health.NOTE, said, "spaceos topics acls --check lists them")
    return Finding("doors", Health.OK, f"{said}the rules of `spaceos topics acls`")


def _cluster(settings: Settings) -> Finding:
    """Ask a cluster as our clients do: with its certificates and passwords."""
    import asyncio
    import logging

    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    # The client reports every failed attempt, and we report the result.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def count_brokers() -> int:
        admin = AIOKafkaAdminClient(request_timeout_ms=5000, **settings.kafka_client_options())
        try:
            await admin.start()
            return len((await admin.describe_cluster())["brokers"])
        finally:
            await admin.close()

    try:
        brokers = asyncio.run(asyncio.wait_for(count_brokers(), 15))
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        said = f"{settings.kafka} does not answer: {error or type(error).__name__}"
        return Finding("Kafka", Health.WRONG, said, "check SPACEOS_KAFKA and SPACEOS_KAFKA_SECURITY_PROTOCOL, _SASL_…, _TLS_…")
    if brokers < settings.replicas:
        said = f"{settings.kafka} has {brokers} brokers, and SPACEOS_REPLICAS is {settings.replicas}"
        return Finding("Kafka", Health.WRONG, said, f"export SPACEOS_REPLICAS={brokers}")
    return Finding("Kafka", Health.OK, f"{settings.kafka} answers, {brokers} brokers")


def _databases(settings: Settings) -> Iterator[Finding]:
    found = _database("store", settings.store, settings)
    yield found
    if found.health is Health.OK:
        yield from _closed(settings)
    if settings.views != settings.store:
        yield _database("views", settings.views, settings)


def _closed(settings: Settings) -> Iterator[Finding]:
    """Shards whose topics and store do not fit, as the worker that has them noted it."""
    from sqlalchemy import make_url

    from adapters.sql import engine_for
    from adapters.sql.outbox import closed_shards
    from adapters.sql.schema import current, heads

    file = make_url(settings.store).database
    if settings.store.startswith("sqlite") and file and not Path(file).exists():
        return
    engine = engine_for(settings.store)
    try:
        shards = closed_shards(engine) if current(engine, "store") == heads("store") else {}
    finally:
        engine.dispose()
    for shard, why in shards.items():
        yield Finding(
            "shard", Health.WRONG, f"{shard} is closed: {why}", "bring the store up to its topics; it opens by itself"
        )


def _database(subject: str, url: str, settings: Settings) -> Finding:
    from sqlalchemy import make_url
    from sqlalchemy.exc import DatabaseError

    from adapters.sql import NotDurable, assert_durable, engine_for

    shown = make_url(url).render_as_string(hide_password=True)
    file = make_url(url).database
    # Asking would make the file.
    if url.startswith("sqlite") and file and not Path(file).exists():
        return Finding(subject, Health.OK, f"{shown}, made at the first start")
    engine = engine_for(url)
    try:
        assert_durable(engine)
    except NotDurable as fault:
        setting = "in postgresql.conf" if url.startswith("postgresql") else "for the file"
        return Finding(subject, Health.WRONG, str(fault), f"set it {setting} and restart what uses it")
    except DatabaseError as error:
        said = str(error.orig).strip().splitlines()
        return Finding(subject, Health.WRONG, f"{shown} does not answer: {said[-1] if said else error}", _reach(url, settings))
    finally:
        engine.dispose()
    return Finding(subject, Health.OK, f"{shown} answers and is durable")


def _signing(settings: Settings) -> Iterator[Finding]:
    """Whether the audit log signs, as far as it is told by what is left of it."""
    from sqlalchemy.exc import DatabaseError

    from ops.auditor import refusal_to_sign
    from ops.compose import Deployment
    from ops.genesis import BadGenesis

    deployment = Deployment(settings)
    if not deployment.genesis_path.exists():
        return
    try:
        refused = refusal_to_sign(deployment)
    except (DatabaseError, BadGenesis):
        # What is said of the databases and of the genesis themselves tells.
        return
    if refused is not None:
        remedy = "restore the audit log's database; with a head that was kept elsewhere: spaceos audit adopt HEAD"
        yield Finding("audit log", Health.WRONG, f"nothing is signed: {refused}", remedy)


def _strangers(settings: Settings) -> Iterator[Finding]:
    """What was found on events topics that nobody entitled had signed."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import DatabaseError

    from adapters.sql import engine_for, reading
    from adapters.views.strangers import passed_over_in

    file = make_url(settings.views).database
    if settings.views.startswith("sqlite") and file and not Path(file).exists():
        return
    engine = engine_for(settings.views)
    try:
        with reading(engine) as connection:
            found = passed_over_in(connection)
    except DatabaseError:
        # Not there, or of a version that does not know: what is said of the database itself tells.
        return
    finally:
        engine.dispose()
    yesterday = rfc3339(datetime.now(UTC) - timedelta(days=1))
    for passed in found:
        said = (
            f"{passed.records} records were passed over, the last at offset {passed.offset}, seen {passed.seen}: {passed.said}"
        )
        health = Health.WRONG if passed.seen > yesterday else Health.NOTE
        yield Finding(passed.shard, health, said, "find out who may write to that topic; nothing of it was folded")


def _reach(url: str, settings: Settings) -> str:
    if url.startswith("sqlite"):
        return "restore the file from a backup, or move it away to begin anew"
    try:
        local = postgres.address(settings.home)
    except postgres.NotStarted:
        return "check SPACEOS_STORE, or start a local server: spaceos postgres start"
    return "spaceos postgres start" if local.partition("@")[2] in url else "check SPACEOS_STORE and that the server runs"


def _taken(address: str | None) -> bool:
    return address is not None and not is_free(int(address.rpartition(":")[2]))


def _install(package: str, what: str) -> str:
    if not shutil.which("apt-get"):
        return f"install {what} with this system's package manager"
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends {package}"


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _variables,
    _python,
    _java,
    _maven,
    _postgresql,
    _home,
    _keys,
    _running,
    _broker,
    _doors,
    _databases,
    _signing,
    _strangers,
)
