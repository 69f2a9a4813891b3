"""Who may do what at the broker: derived from the topics, compared with what the broker knows, and set.

Only what is allowed is ever written: a broker with an authorizer refuses the rest, unless `allow.everyone.if.no.acl.found`
is true.
"""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import SecurityDisabled, for_code
from aiokafka.protocol.admin import (
    CreateAclsRequest,
    DeleteAclsRequest,
    DescribeAclsRequest,
)

TOLD_SECONDS = 10.0
PAUSE_SECONDS = 0.02
EVERYBODY = "User:*"
"""Whoever is let in."""


class NoAuthorizer(RuntimeError):
    """The broker asks nobody what he may do. The message says how it is given an authorizer."""

    def __init__(self) -> None:
        super().__init__(
            "the broker has no authorizer, so anybody who reaches it may write to every topic: set authorizer.class.name "
            "on each broker of a cluster, or SPACEOS_KAFKA_SECURE=1 for the local broker, and start it again (ops/doors.md)"
        )


class NotAllowed(RuntimeError):
    """The broker did not show or change its rules. The message says why."""


class On(IntEnum):
    """Kafka's resource types."""

    ANY = 1
    TOPIC = 2
    GROUP = 3


class May(IntEnum):
    """Kafka's operations. Who may read or write may also ask for partitions, ends and settings of his group."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4


class Pattern(IntEnum):
    """How a rule's name is meant; ANY only in questions."""

    ANY = 1
    LITERAL = 3
    PREFIXED = 4


_DENY, _ALLOW = 2, 3
_ANY_PERMISSION = 1
_HOST = "*"


@dataclass(frozen=True, order=True)
class Rule:
    """An access control entry that allows. `may` and `on` are numbers of Kafka's, so that others' rules can be told, too."""

    on: int
    name: str
    principal: str
    may: int
    pattern: int = Pattern.LITERAL
    host: str = _HOST
    permission: int = _ALLOW

    @property
    def is_prefix(self) -> bool:
        """Whether it is of all whose names begin with its own."""
        return self.pattern == Pattern.PREFIXED

    @property
    def allows(self) -> bool:
        return self.permission == _ALLOW

    @property
    def kind(self) -> str:
        """`topic`, `group`, or a number of Kafka's."""
        return On(self.on).name.lower() if self.on in set(On) else f"resource {self.on}"

    @property
    def operation(self) -> str:
        """`read`, `write`, `all`, or a number of Kafka's."""
        return May(self.may).name.lower() if self.may in set(May) else f"operation {self.may}"

    @property
    def shown_name(self) -> str:
        return f"{self.name}*" if self.is_prefix else self.name

    @property
    def text(self) -> str:
        """On one line, for people."""
        host = "" if self.host == _HOST else f" from {self.host}"
        return f"{self.principal} {'may' if self.allows else 'may not'} {self.operation} {self.kind} {self.shown_name}{host}"

    def touches(self, other: "Rule") -> bool:
        """Whether both say something of one topic or group."""
        return self.on == other.on and (self._covers(other.name) or other._covers(self.name))

    def _covers(self, name: str) -> bool:
        return name.startswith(self.name) if self.is_prefix else self.name in {name, "*"}

    def arguments(self) -> str:
        """Those of Kafka's own `kafka-acls.sh` that add it."""
        many = " --resource-pattern-type prefixed" if self.is_prefix else ""
        who, name = shlex.quote(self.principal), shlex.quote(self.name)
        return f"--add --allow-principal {who} --operation {self.operation.capitalize()} --{self.kind} {name}{many}"


@dataclass(frozen=True)
class Roles:
    """The principals of each role, as the broker names them: `User:worker`, `User:CN=worker,O=…`."""

    worker: tuple[str, ...]
    readers: tuple[str, ...]
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """The consumer groups of a deployment; a name of `prefixes` stands for all that begin with it."""

    worker: str
    readers: tuple[str, ...]
    prefixes: tuple[str, ...]


def rules_of(contexts: Iterable[str], raw: Iterable[str], groups: Groups, roles: Roles) -> list[Rule]:
    """The least that works, in the order of topics and groups. Transactions are for nobody: ours need none."""
    found: set[Rule] = set()

    def let(principals: Sequence[str], may: May, on: On, name: str, pattern: Pattern = Pattern.LITERAL) -> None:
        found.update(Rule(on, name, principal, may, pattern) for principal in principals)

    for context in contexts:
        let(roles.worker, May.READ, On.TOPIC, f"{context}.commands")
        # Processes, collectors and lists ask like anybody else; a deployment may have named its clients.
        for principals in (roles.readers, roles.clients):
            let(principals, May.WRITE, On.TOPIC, f"{context}.commands")
        for kind in ("events", "outcomes"):
            # The worker compares what is there with its store before it goes on.
            let(roles.worker, May.READ, On.TOPIC, f"{context}.{kind}")
            let(roles.worker, May.WRITE, On.TOPIC, f"{context}.{kind}")
            let(roles.readers, May.READ, On.TOPIC, f"{context}.{kind}")
        let(roles.clients, May.READ, On.TOPIC, f"{context}.outcomes")
    for topic in raw:
        let(roles.clients, May.WRITE, On.TOPIC, topic)
        let(roles.readers, May.READ, On.TOPIC, topic)
    let(roles.worker, May.READ, On.GROUP, groups.worker)
    for group in groups.readers:
        let(roles.readers, May.READ, On.GROUP, group)
    for prefix in groups.prefixes:
        let(roles.readers, May.READ, On.GROUP, prefix, Pattern.PREFIXED)
    return sorted(found)


@dataclass(frozen=True)
class Compared:
    """What the broker lacks, and what else it has on topics and groups of ours."""

    missing: tuple[Rule, ...]
    others: tuple[Rule, ...]


def compare_rules(wanted: Collection[Rule], known: Collection[Rule]) -> Compared:
    """Others are rules on our topics and groups that are not wanted: whoever has them may more than he should, or less."""
    strange = [rule for rule in known if rule not in wanted]
    others = [rule for rule in strange if any(rule.touches(mine) for mine in wanted)]
    return Compared(tuple(sorted(set(wanted) - set(known))), tuple(sorted(others)))


async def known_rules(client: Mapping[str, Any]) -> list[Rule]:
    """All that the broker knows. Raises NoAuthorizer, NotAllowed, KafkaError."""
    async with _admin(client) as admin:
        return await _known(admin)


async def add_rules(rules: Sequence[Rule], client: Mapping[str, Any]) -> None:
    """Have the broker know these, too, and return when it does; what it knows already stays as it is.

    Raises NoAuthorizer, NotAllowed, KafkaError.
    """
    async with _admin(client) as admin:
        answer: Any = await admin._send_request(_Create(rules))
        for code, said in answer.creation_responses:
            _check(code, said)
        await _until(admin, lambda known: set(rules) <= known)


async def remove_rules(rules: Sequence[Rule], client: Mapping[str, Any]) -> None:
    """Exactly these, no others that they cover; return when it is so. Raises NoAuthorizer, NotAllowed, KafkaError."""
    async with _admin(client) as admin:
        answer: Any = await admin._send_request(_Delete(rules))
        for code, said, _ in answer.filter_responses:
            _check(code, said)
        await _until(admin, lambda known: not set(rules) & known)


async def _until(admin: Any, is_so: Callable[[set[Rule]], bool]) -> None:
    # The controller answers when it has written them, and the broker keeps to them when it has read that.
    deadline = time.monotonic() + TOLD_SECONDS
    while not is_so(set(await _known(admin))):
        if time.monotonic() > deadline:
            raise NotAllowed(f"the broker took the rules and does not show them after {TOLD_SECONDS:g} s; try again")
        await asyncio.sleep(PAUSE_SECONDS)


async def _known(admin: Any) -> list[Rule]:
    # Null is any name, principal and host, whatever aiokafka says of their types.
    anything: Any = None
    asked = DescribeAclsRequest(On.ANY, anything, Pattern.ANY, anything, anything, May.ANY, _ANY_PERMISSION)
    answer = await admin._send_request(asked)
    _check(answer.error_code, answer.error_message)
    return [
        Rule(on, name, principal, may, pattern, host, permission)
        for on, name, pattern, rules in answer.resources
        for principal, host, may, permission in rules
    ]


def _row(rule: Rule) -> tuple[Any, ...]:
    return (int(rule.on), rule.name, int(rule.pattern), rule.principal, rule.host, int(rule.may), int(rule.permission))


class _Create(CreateAclsRequest):  # type: ignore[misc]
    """aiokafka's makes one rule a request, and there are some hundreds."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rows = [_row(rule) for rule in rules]

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._rows)


class _Delete(DeleteAclsRequest):  # type: ignore[misc]
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rows = [_row(rule) for rule in rules]

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._rows)


@asynccontextmanager
async def _admin(client: Mapping[str, Any]) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def _check(code: int, said: str | None) -> None:
    if code == 0:
        return
    error = for_code(code)
    if error is SecurityDisabled:
        raise NoAuthorizer
    raise NotAllowed(
        f"the broker did not answer for its rules: {error.__name__}{f', {said}' if said else ''}; it takes a user who may "
        "alter the cluster (a super user)"
    )
