"""May this key send this command to this stream, now? (White paper 3.1, 11.1: every role is granted key by key.)"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime

from adapters.sql.store import KeyAuthority, Question, Store
from commands import was_given_by
from contracts import Command, CommandRecord, Did, RefusalReason, Value, id_type, rfc3339
from contracts.identity import second_spelling
from domain.identity.authority import WRITER, Founding, covers

SELF = "identity.self"
"""Every key may do this with its own stream, as long as it is registered for anything at all."""


class NotTheWriter(RuntimeError):
    """This process's key may not sign these events. Nothing was signed; the message says what to do."""

    def __init__(self, key: str, stream: str) -> None:
        super().__init__(
            f"{key} has no role {WRITER} for {stream} now, so nothing is signed: have it registered (identity.ProposeKey by a"
            " quorum of registrars), or start the worker with the key that has taken its place as writer.key"
        )


@dataclass(frozen=True, slots=True)
class Permit:
    """It may, because of the event at this position."""

    shard: str
    sequence: int


def permitted(known: KeyAuthority | None, kind: type[Command], record: CommandRecord, now: datetime) -> Permit | RefusalReason:
    """The grant that covers the command, or why there is none: NotInRole, Revoked, OutOfPrefix or Expired."""
    roles = kind.wire.roles
    if known is None:
        return RefusalReason(name="NotInRole", text="the source's key is not registered in this network", field="source")
    if known.revoked:
        return RefusalReason(name="Revoked", text=f"the key was revoked by {known.shard} {known.sequence}", field="source")
    name, text = "NotInRole", f"{kind.wire.type} needs {' or '.join(roles)}"
    is_own_stream = SELF in roles and record.subject == f"{kind.wire.stream}/{record.source}"
    for grant in known.grants:
        # Nobody is given what every key may do with itself.
        if (grant.role not in roles or grant.role == SELF) and not is_own_stream:
            continue
        if not is_own_stream and not covers(grant.prefix, record.subject):
            name, text = "OutOfPrefix", f"the key is {grant.role} on {grant.prefix} only"
        elif not grant.is_in_force(now):
            name, text = "Expired", f"the role {grant.role} ended at {grant.not_after.isoformat()}"
        else:
            return Permit(grant.shard, grant.sequence)
    return RefusalReason(name=name, text=text, field="source")


def is_writer(known: KeyAuthority | None, stream: str, now: datetime) -> bool:
    """Whether the key may sign what is said of the stream."""
    return known is not None and any(covers(grant.prefix, stream) for grant in known.in_force(WRITER, now))


def spelled_otherwise(record: CommandRecord, command: Command, chain_id: int) -> RefusalReason | None:
    """A wallet that is named by another chain or in capitals, as source, stream or in any field: it would be a second one."""
    # Nearly no command names a wallet, and its bytes, unless one is escaped, are looked through faster than its fields.
    if b"did:pkh:" not in record.value and b"\\" not in record.value:
        return None
    places = [("source", record.source)]
    if issubclass(id_type(type(command)), Did):
        places.append(("subject", record.subject.removeprefix(f"{command.wire.stream}/")))
    for field_name, did in (*places, *_named(command, "data")):
        if (why := second_spelling(did, chain_id)) is not None:
            return RefusalReason(name="WrongChain", text=why, field=field_name)
    return None


def _named(value: object, path: str) -> Collection[tuple[str, str]]:
    """Every DID of a wallet in a field of that type, with the field's name."""
    if isinstance(value, Did):
        return ((path, value),) if value.startswith("did:pkh:") else ()
    if isinstance(value, Value):
        return [found for name, part in value for found in _named(part, f"{path}.{name}")]
    if isinstance(value, tuple | list):
        return [found for n, part in enumerate(value) for found in _named(part, f"{path}.{n}")]
    if isinstance(value, dict):
        return [found for name, part in value.items() for found in (*_named(name, path), *_named(part, f"{path}.{name}"))]
    return ()


@dataclass
class BatchAuthority:
    """The authority table for the rules of one batch: as the store has it, with what the batch itself has changed."""

    store: Store
    read_founding: Callable[[], Founding]
    look_up: Callable[[str], KeyAuthority | None]
    """A key as it is after what this batch has changed; the store's is relied on."""
    changed: Collection[str]
    """Keys that the batch has changed."""
    answers: dict[Question, frozenset[str]] = field(default_factory=dict)
    """As the store gave them, to be compared when the batch commits."""

    @property
    def founding(self) -> Founding:
        return self.read_founding()

    def of(self, key: str) -> KeyAuthority | None:
        return self.look_up(key)

    def holders(self, role: str) -> Collection[KeyAuthority]:
        found = self._named(Question(role))
        return [known for known in found if any(grant.role == role for grant in known.grants)]

    def given_by(self, key: str, since: datetime) -> Collection[KeyAuthority]:
        return [known for known in self._named(Question(key, rfc3339(since))) if was_given_by(known, key, since)]

    def _named(self, question: Question) -> list[KeyAuthority]:
        if question not in self.answers:
            self.answers[question] = self.store.named(question)
        names = sorted({*self.answers[question], *self.changed})
        return [known for name in names if (known := self.look_up(name)) is not None]
