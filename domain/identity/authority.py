"""The authority table as the rules see it: who may act, in which role, since when, until when, by whose consent."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from contracts import contexts

BEGINNING = datetime.min.replace(tzinfo=UTC)
"""Since when the genesis's keys may act."""
WRITER = "store.writer"
"""Whoever signs events."""
REGISTRAR = "identity.registrar"


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agreed to a registration."""

    key: str
    person: str


@dataclass(frozen=True, slots=True)
class Granted:
    """One role of a key, and the event that gave it."""

    role: str
    prefix: str
    not_after: datetime
    shard: str
    sequence: int
    since: datetime = BEGINNING
    consents: tuple[Consent, ...] = ()
    """Of the registrars; none where the genesis gave it, or a rotation handed it over."""

    def is_in_force(self, now: datetime) -> bool:
        """A role ends on its last moment."""
        return now <= self.not_after


@dataclass(frozen=True, slots=True)
class KeyAuthority:
    """What a key may do, as of the event that changed it last."""

    key: str
    shard: str
    sequence: int
    revoked: bool
    grants: tuple[Granted, ...]
    """Those that were neither withdrawn nor replaced; some may be past their ends."""
    person: str | None = None
    """The first key of its chain of rotations; None where it is that key itself."""
    follows: str | None = None
    """The key whose place it took."""
    followed_at: datetime | None = None

    @property
    def holder(self) -> str:
        return self.person or self.key

    @property
    def position(self) -> tuple[str, int]:
        return self.shard, self.sequence

    def in_force(self, role: str, now: datetime) -> Iterator[Granted]:
        """Its grants of that role that may be used now."""
        if not self.revoked:
            yield from (grant for grant in self.grants if grant.role == role and grant.is_in_force(now))

    def has(self, role: str, now: datetime) -> bool:
        return any(self.in_force(role, now))


@dataclass(frozen=True, slots=True)
class Founding:
    """What the genesis says of the network, and the SHA-256 of its bytes."""

    genesis: str
    roots: tuple[str, ...]
    quorum: int
    chain_id: int
    profile: str


class Authority(Protocol):
    """What a rule may ask of the authority table. Whatever it was answered is compared when the decision commits."""

    @property
    def founding(self) -> Founding: ...

    def of(self, key: str) -> KeyAuthority | None:
        """The key's row; None where it was never named: neither in the genesis nor registered, followed or revoked."""
        ...

    def holders(self, role: str) -> Collection[KeyAuthority]:
        """The keys that have a grant of that role, in force or past its end."""
        ...

    def given_by(self, key: str, since: datetime) -> Collection[KeyAuthority]:
        """The keys that took the key's place, or to whose roles it consented, then or later."""
        ...


@dataclass(frozen=True, slots=True)
class WriterInterval:
    """From when until when, both included, a key might sign the events of the streams that the prefix covers."""

    key: str
    prefix: str
    since: datetime
    until: datetime

    def covers(self, stream: str, time: datetime) -> bool:
        return self.since <= time <= self.until and covers(self.prefix, stream)


def covers(prefix: str, stream: str) -> bool:
    """Whether a role on the prefix may be used on the stream. Compared as bytes.

    An empty prefix covers all. One that ends in `/` or `.` covers what begins with it; a whole stream's name that stream
    only. What was given before that was the rule covers as if `/` followed: `a/b` neither `a/b-2` nor `a/bc`.
    """
    if prefix.endswith(("/", ".")) or not prefix:
        return stream.startswith(prefix)
    return stream == prefix or (not is_whole(prefix) and stream.startswith(f"{prefix}/"))


def is_whole(prefix: str) -> bool:
    """Whether it may be the whole name of a stream: `<context>/<kind>/<id>`."""
    return prefix.count("/") >= 2 and not prefix.endswith("/")


def is_narrow(prefix: str) -> bool:
    """Whether it covers one stream, or those whose ids begin with one owner's and a dot: `treasury/account/ada.`."""
    return is_whole(prefix) and not prefix.endswith("/.")


def cover_all(ended: str, prefixes: Iterable[str]) -> bool:
    """Whether those cover every stream of this deployment that the ended one does."""
    others = list(prefixes)
    wanted = [ended] if ended else [f"{context}/" for context in contexts()]
    return all(any(covers(prefix, one) for prefix in others) for one in wanted)
