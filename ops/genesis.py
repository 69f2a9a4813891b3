"""The genesis: a network's name and first keys, in a file that every part of a deployment reads.

    {"network": "dev", "keys": [{"key": "did:key:…", "roles": [{"role": "identity.root", "prefix": "identity/"}],
                                 "not_after": "2027-11-24T00:00:00.000000Z"}],
     "log": "audit.localhost/dev/1+…"}

`log` is the audit log's key as a C2SP verifier key, whose name is the log's origin. The file holds public keys only. The
store remembers its network and refuses another one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters import keys
from adapters.tlog.notes import NoteSigner
from commands import Grant
from contracts import Did, Role, Timestamp, languages
from contracts.identity import SERVICE_KEY_DAYS

ROOTS = 3
"""Keys that found the network and register all others (white paper 13.1: no single person does)."""
PROCESS_KINDS = frozenset({"process", "clock", "collector", "sequencer", "settler"})
"""Roles of the deployment's own processes: each context says in its language which of them it wants."""
AUDITORS = 2
"""What matters in the audit log takes two persons."""
AUDITOR_ROLES = tuple((f"audit.{kind}", "audit/") for kind in ("reader", "officer", "keyholder", "operator", "publisher"))
LOG_KEY = "log"
WRITER_ROLE = "store.writer"
"""Whoever signs events. Readers and auditors look the writer up here."""


class BadGenesis(ValueError):
    """The genesis file is missing or wrong. The message says where and what to do."""


class FirstRole(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    role: Role
    prefix: Annotated[str, Field(max_length=200)]


class FirstKey(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    key: Did
    roles: tuple[FirstRole, ...]
    not_after: Timestamp


class Genesis(BaseModel):
    """What a network begins with."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    keys: Annotated[tuple[FirstKey, ...], Field(min_length=1)]
    log: Annotated[str, Field(max_length=300)] | None = None

    def grants(self) -> Iterator[Grant]:
        """The authority that nobody had to give."""
        for first in self.keys:
            for role in first.roles:
                yield Grant(first.key, role.role, role.prefix, first.not_after)

    def writers(self) -> set[str]:
        return {first.key for first in self.keys for role in first.roles if role.role == WRITER_ROLE}


def read_genesis(path: Path) -> Genesis:
    """Raises BadGenesis."""
    try:
        return Genesis.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadGenesis(f"{path} is missing; begin a network with: spaceos key genesis NAME") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadGenesis(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def make_genesis(
    path: Path, key_folder: Path, network: str, now: datetime | None = None, *, audit_domain: str = "audit.localhost"
) -> Genesis:
    """A new network: keys of roots, processes, auditors, writer and audit log in files, the public halves in the genesis.

    Raises FileExistsError.
    """
    if path.exists():
        raise FileExistsError(path)
    until = (now or datetime.now(UTC)) + timedelta(days=SERVICE_KEY_DAYS)
    roots = [keys.write_key(key_folder / f"root-{n + 1}.key") for n in range(ROOTS)]
    writer = keys.write_key(key_folder / "writer.key")
    first = [FirstKey(key=Did(r.did), roles=(_role("identity.root", "identity/"),), not_after=until) for r in roots]
    process = keys.write_key(key_folder / "process.key")
    roles = tuple(_role(role, f"{role.partition('.')[0]}/") for role in process_roles())
    first.append(FirstKey(key=Did(process.did), roles=roles, not_after=until))
    first.append(FirstKey(key=Did(writer.did), roles=(_role(WRITER_ROLE, ""),), not_after=until))
    auditors = [keys.write_key(key_folder / f"auditor-{n + 1}.key") for n in range(AUDITORS)]
    audits = tuple(_role(*role) for role in AUDITOR_ROLES)
    first += [FirstKey(key=Did(auditor.did), roles=audits, not_after=until) for auditor in auditors]
    keys.write_key(key_folder / f"{LOG_KEY}.key")
    log = NoteSigner.of(f"{audit_domain}/{network}/1", keys.read_seed(key_folder / f"{LOG_KEY}.key"))
    genesis = Genesis(network=network, keys=tuple(first), log=str(log.key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(genesis.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")
    return genesis


def process_roles() -> list[str]:
    """The roles that some context's commands need of the deployment's own processes."""
    roles = {role for message in languages() for role in message.wire.roles}
    return sorted(role for role in roles if role.partition(".")[2] in PROCESS_KINDS)


def _role(role: str, prefix: str) -> FirstRole:
    return FirstRole(role=Role(role), prefix=prefix)
