"""How an event changes who may act, and the authority table as a pure fold of that."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.identity.authority import BEGINNING, Consent, Founding, Granted, KeyAuthority


@dataclass(frozen=True, slots=True)
class Grant:
    """A key may act in a role on the streams that the prefix covers, until `not_after`."""

    key: str
    role: str
    prefix: str
    not_after: datetime
    follows: str | None = None
    """The key whose place it takes: its holder is the same person."""
    since: datetime = BEGINNING
    consents: tuple[Consent, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """It may no longer: in one role and prefix, or in none at all where both are None."""

    key: str
    role: str | None = None
    prefix: str | None = None
    at: datetime = BEGINNING


@dataclass(frozen=True, slots=True)
class Limit:
    """It may so much longer, or less where the role ends before."""

    key: str
    role: str
    prefix: str
    until: datetime


AuthorityChange = Grant | Withdrawal | Limit


def changed(
    known: KeyAuthority | None, change: AuthorityChange, shard: str, sequence: int, followed: KeyAuthority | None = None
) -> KeyAuthority:
    """The key after the event at that place. `followed` is the key whose place it takes."""
    now = known or KeyAuthority(change.key, shard, sequence, revoked=False, grants=())
    now = replace(now, shard=shard, sequence=sequence)
    match change:
        case Grant():
            # A key has one person for ever, set when it is first named.
            if change.follows and (known is None or known.position == (shard, sequence)) and now.follows is None:
                person = followed.holder if followed else change.follows
                now = replace(now, person=person, follows=change.follows, followed_at=change.since)
            granted = Granted(change.role, change.prefix, change.not_after, shard, sequence, change.since, change.consents)
            return replace(now, grants=(*_others(now, change.role, change.prefix), granted))
        case Withdrawal(role=None):
            return replace(now, revoked=True, grants=())
        case Withdrawal(role=role, prefix=prefix):
            return replace(now, grants=tuple(_others(now, role, prefix)))
        case Limit(role=role, prefix=prefix, until=until):
            limited = (
                replace(grant, not_after=min(grant.not_after, until)) if (grant.role, grant.prefix) == (role, prefix) else grant
                for grant in now.grants
            )
            return replace(now, grants=tuple(limited))


def _others(known: KeyAuthority, role: str | None, prefix: str | None) -> Iterable[Granted]:
    return (grant for grant in known.grants if (grant.role, grant.prefix) != (role, prefix))


@dataclass
class AuthorityTable:
    """The authority table in memory: what it is told, in order."""

    founding: Founding
    keys: dict[str, KeyAuthority] = field(default_factory=dict)

    def apply(self, change: AuthorityChange, shard: str, sequence: int) -> None:
        followed = self.keys.get(change.follows) if isinstance(change, Grant) and change.follows else None
        self.keys[change.key] = changed(self.keys.get(change.key), change, shard, sequence, followed)

    def of(self, key: str) -> KeyAuthority | None:
        return self.keys.get(key)

    def holders(self, role: str) -> Collection[KeyAuthority]:
        return [known for known in self.keys.values() if any(grant.role == role for grant in known.grants)]

    def given_by(self, key: str, since: datetime) -> Collection[KeyAuthority]:
        return [known for known in self.keys.values() if was_given_by(known, key, since)]


def was_given_by(known: KeyAuthority, key: str, since: datetime) -> bool:
    """Whether it took the key's place, or the key consented to one of its roles, then or later."""
    if known.follows == key and known.followed_at is not None and known.followed_at >= since:
        return True
    return any(grant.since >= since and any(c.key == key for c in grant.consents) for grant in known.grants)
