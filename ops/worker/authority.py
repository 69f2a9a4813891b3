"""May this key send this command to this stream, now? (White paper 3.1, 11.1: every role is granted key by key.)"""

from dataclasses import dataclass, replace
from datetime import datetime

from adapters.sql.store import Granted, KeyAuthority
from commands import AuthorityChange, Grant
from contracts import Command, CommandRecord, RefusalReason

SELF = "identity.self"
"""Every key may do this with its own stream, as long as it is registered for anything at all."""


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
        if grant.role not in roles and not is_own_stream:
            continue
        if not is_own_stream and not covers(grant.prefix, record.subject):
            name, text = "OutOfPrefix", f"the key is {grant.role} on {grant.prefix} only"
        elif now > grant.not_after:
            name, text = "Expired", f"the role {grant.role} ended at {grant.not_after.isoformat()}"
        else:
            return Permit(grant.shard, grant.sequence)
    return RefusalReason(name=name, text=text, field="source")


def entitled(known: KeyAuthority | None, role: str, stream: str, now: datetime) -> bool:
    """Whether the key, which need not have signed anything here, has the role for the stream now."""
    return known is not None and not known.revoked and any(
        grant.role == role and covers(grant.prefix, stream) and now <= grant.not_after for grant in known.grants
    )  # fmt: skip


def covers(prefix: str, subject: str) -> bool:
    """Whether the stream begins with the prefix, at the end of a word: `a/b` covers `a/b/c`, not `a/bc`."""
    if not subject.startswith(prefix):
        return False
    return len(subject) == len(prefix) or not prefix or not prefix[-1].isalnum() or not subject[len(prefix)].isalnum()


def changed(
    known: KeyAuthority | None, change: AuthorityChange, shard: str, sequence: int, followed: KeyAuthority | None = None
) -> KeyAuthority:
    """The key after an event of this very batch, for the commands that follow it there. `followed` is the key it replaces."""
    now = known or KeyAuthority(change.key, shard, sequence, revoked=False, grants=())
    now = replace(now, shard=shard, sequence=sequence)
    if isinstance(change, Grant):
        if change.follows:
            now = replace(now, person=followed.holder if followed else change.follows)
        others = tuple(g for g in now.grants if (g.role, g.prefix) != (change.role, change.prefix))
        return replace(now, grants=(*others, Granted(change.role, change.prefix, change.not_after, shard, sequence)))
    if change.role is None:
        return replace(now, revoked=True)
    return replace(now, grants=tuple(g for g in now.grants if (g.role, g.prefix) != (change.role, change.prefix)))
