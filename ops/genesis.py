"""The genesis: a network's name and first keys, in a file that every part of a deployment reads.

    {"network": "dev", "quorum": 2, "chain_id": 800000, "profile": "consumer",
     "keys": [{"key": "did:key:…", "roles": [{"role": "identity.root", "prefix": "identity/"}],
               "not_after": "2027-11-24T00:00:00.000000Z"}],
     "log": "audit.localhost/dev/1+…"}

`quorum` of the keys with the role `identity.root` make a registrar; `chain_id` is that of every wallet. `log` is the audit
log's key as a C2SP verifier key, whose name is the log's origin. The file holds public keys only. It is never edited: the
store remembers its SHA-256 and begins no process with other bytes.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters import keys
from adapters.tlog.notes import NoteSigner
from commands import Grant
from contracts import Count, Did, Role, Timestamp, languages
from contracts.identity import SERVICE_KEY_DAYS, second_spelling
from domain.identity.authority import BEGINNING, WRITER, Founding, WriterInterval

CHAIN_ID = 800_000
"""Of SPACE's chain, in every network."""
ROOT_ROLE = "identity.root"
MOST_ROOTS = 7
ROOTS = 3
"""Keys that found the network and register all others (white paper 13.1: no single person does)."""
PROCESS_KINDS = frozenset({"process", "clock", "collector", "sequencer", "settler"})
"""Roles of the deployment's own processes: each context says in its language which of them it wants."""
AUDITORS = 2
"""What matters in the audit log takes two persons."""
AUDITOR_ROLES = tuple((f"audit.{kind}", "audit/") for kind in ("reader", "officer", "keyholder", "operator", "publisher"))
LOG_KEY = "log"
WRITER_ROLE = WRITER
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
    quorum: Annotated[Count, Field(ge=2, le=MOST_ROOTS)] | None = None
    """Absent in those of before: more than half of the roots."""
    chain_id: Annotated[Count, Field(ge=1)] = CHAIN_ID
    profile: Literal["consumer", "business", "private", "government"] = "consumer"
    keys: Annotated[tuple[FirstKey, ...], Field(min_length=1)]
    log: Annotated[str, Field(max_length=300)] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        roots = self.roots()
        if len(set(roots)) != len(roots) or (roots and not ROOTS <= len(roots) <= MOST_ROOTS):
            raise ValueError(f"{len(roots)} keys are {ROOT_ROLE}; a network has {ROOTS} to {MOST_ROOTS} roots")
        if self.quorum is not None and not len(roots) / 2 < self.quorum <= len(roots):
            raise ValueError(f"a quorum of {len(roots)} roots is more than half of them and no more than all")
        for first in self.keys:
            if (why := second_spelling(first.key, self.chain_id)) is not None:
                raise ValueError(why)
        return self

    def roots(self) -> tuple[str, ...]:
        return tuple(first.key for first in self.keys for role in first.roles if role.role == ROOT_ROLE)

    def founding(self, digest: str) -> Founding:
        """What the network is founded on; `digest` is the SHA-256 of the file's bytes."""
        roots = self.roots()
        return Founding(digest, roots, self.quorum or len(roots) // 2 + 1, self.chain_id, self.profile)

    def grants(self) -> Iterator[Grant]:
        """The authority that nobody had to give."""
        for first in self.keys:
            for role in first.roles:
                yield Grant(first.key, role.role, role.prefix, first.not_after)

    def intervals(self, role: str) -> list[WriterInterval]:
        """Who has the role from the beginning, and until when if nothing ends it before."""
        return [WriterInterval(g.key, g.prefix, BEGINNING, g.not_after) for g in self.grants() if g.role == role]

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


def digest_of(path: Path) -> str:
    """SHA-256 of the genesis's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    first = [FirstKey(key=Did(r.did), roles=(_role(ROOT_ROLE, "identity/"),), not_after=until) for r in roots]
    process = keys.write_key(key_folder / "process.key")
    roles = tuple(_role(role, f"{role.partition('.')[0]}/") for role in process_roles())
    first.append(FirstKey(key=Did(process.did), roles=roles, not_after=until))
    first.append(FirstKey(key=Did(writer.did), roles=(_role(WRITER_ROLE, ""),), not_after=until))
    auditors = [keys.write_key(key_folder / f"auditor-{n + 1}.key") for n in range(AUDITORS)]
    audits = tuple(_role(*role) for role in AUDITOR_ROLES)
    first += [FirstKey(key=Did(auditor.did), roles=audits, not_after=until) for auditor in auditors]
    keys.write_key(key_folder / f"{LOG_KEY}.key")
    log = NoteSigner.of(f"{audit_domain}/{network}/1", keys.read_seed(key_folder / f"{LOG_KEY}.key"))
    genesis = Genesis(network=network, quorum=ROOTS // 2 + 1, keys=tuple(first), log=str(log.key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(genesis.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")
    return genesis


def process_roles() -> list[str]:
    """The roles that some context's commands need of the deployment's own processes."""
    roles = {role for message in languages() for role in message.wire.roles}
    return sorted(role for role in roles if role.partition(".")[2] in PROCESS_KINDS)


def _role(role: str, prefix: str) -> FirstRole:
    return FirstRole(role=Role(role), prefix=prefix)
