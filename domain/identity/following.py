"""What ends with a key, and what no single person may end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from contracts import Did, Role
from contracts.identity import MOST_ENDS, EndedAuthority
from domain.identity.authority import REGISTRAR, WRITER, Authority, Granted, KeyAuthority, cover_all, covers
from domain.identity.giving import persons_needed
from domain.identity.refusals import NeedsQuorum, NoSuccessor, TooManyFollow

MOST_GIVEN = 1_000
"""Keys that are looked at, of those that one key gave something to."""
KEYS = "identity/key/"
Pair = tuple[str, str]
"""A role and its prefix."""
Whole = None
"""Instead of pairs: the key with all that it has."""
Lost = dict[str, set[Pair] | None]
"""Keys, and what they lose."""


def what_follows(authority: Authority, key: str, since: datetime, quorum: int) -> Lost:
    """What the key handed over since then: its successors and theirs, and roles that lack a person without its consent.

    Also what these in turn handed over. Raises TooManyFollow.
    """
    following = _Following(authority, since, quorum)
    following.lose_whole(key)
    following.follow()
    del following.lost[key]
    ended = {name: lost for name, lost in following.lost.items() if name not in following.over}
    if len(list(_entries(ended))) > MOST_ENDS:
        raise TooManyFollow(f"more than {MOST_ENDS} keys and roles follow; a later date ends fewer", "suspected_since")
    return ended


def listed(lost: Lost) -> tuple[EndedAuthority, ...]:
    """As the event lists them, in the order of their names."""
    return tuple(_entries(lost))


def _entries(lost: Lost) -> Iterator[EndedAuthority]:
    for key, pairs in sorted(lost.items(), key=lambda entry: entry[0]):
        if pairs is None:
            yield EndedAuthority(key=Did(key))
        else:
            yield from (EndedAuthority(key=Did(key), role=Role(role), prefix=prefix) for role, prefix in sorted(pairs))


@dataclass
class _Following:
    authority: Authority
    since: datetime
    quorum: int
    lost: Lost = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    """Keys that were revoked already: what they handed over may live on."""
    waiting: list[str] = field(default_factory=list)

    def lose_whole(self, key: str) -> None:
        if self.lost.get(key, ()) is not Whole:
            self.lost[key] = Whole
            self.waiting.append(key)

    def lose(self, key: str, pair: Pair) -> None:
        pairs = self.lost.setdefault(key, set())
        if pairs is not None and pair not in pairs:
            pairs.add(pair)
            self.waiting.append(key)

    def follow(self) -> None:
        while self.waiting:
            by = self.waiting.pop(0)
            given = self.authority.given_by(by, self.since)
            if len(given) >= MOST_GIVEN:
                raise TooManyFollow(f"{by} gave something to {MOST_GIVEN} keys and more", "suspected_since")
            for known in given:
                self._follow(by, known)

    def _follow(self, by: str, known: KeyAuthority) -> None:
        took_its_place = known.follows == by and known.followed_at is not None and known.followed_at >= self.since
        if known.revoked:
            self.over.add(known.key)
            if took_its_place and self.lost[by] is Whole:
                self.lose_whole(known.key)
            return
        if took_its_place and self.lost[by] is Whole:
            self.lose_whole(known.key)
        for grant in known.grants:
            if (took_its_place and self._was_handed_over(by, known, grant)) or self._lacks_a_person(grant):
                self.lose(known.key, (grant.role, grant.prefix))

    def _was_handed_over(self, by: str, known: KeyAuthority, grant: Granted) -> bool:
        pairs = self.lost[by]
        was_by_rotation = not grant.consents and grant.since == known.followed_at
        return was_by_rotation and pairs is not None and (grant.role, grant.prefix) in pairs

    def _lacks_a_person(self, grant: Granted) -> bool:
        if grant.since < self.since or not any(self._is_void(consent.key) for consent in grant.consents):
            return False
        left = {consent.person for consent in grant.consents if not self._is_void(consent.key)}
        return len(left) < persons_needed(grant.role, grant.prefix, self.quorum)

    def _is_void(self, key: str) -> bool:
        """Whether its consents count no more: it is ended, or was made a registrar by what is."""
        pairs = self.lost.get(key, ())
        return pairs is Whole or any(role == REGISTRAR for role, _ in pairs or ())


def may_end_alone(authority: Authority, lost: Lost, person: str, quorum: Callable[[], int], now: datetime) -> None:
    """That these are no writers, nobody else's registrars, and a quorum of registrars is left. Raises NeedsQuorum.

    Whoever could end another registrar alone would leave fewer than it takes to end him.
    """
    ended = list(_grants(authority, lost, now))
    if any(grant.role == WRITER for _, grant in ended):
        raise NeedsQuorum("whoever signs the events is ended by a quorum: ProposeEnd, ApproveEnd", "role")
    registrars = {known.holder for known, grant in ended if _is_registrar(grant)}
    if not registrars:
        return
    if registrars != {person}:
        raise NeedsQuorum("a registrar ends nobody else's registrar alone: ProposeEnd, ApproveEnd", "role")
    left = {
        known.holder
        for known in authority.holders(REGISTRAR)
        if any(_is_registrar(grant) and not _is_lost(lost, known.key, grant) for grant in known.in_force(REGISTRAR, now))
    }
    if len(left) < quorum():
        raise NeedsQuorum(f"{len(left)} registrars would be left of the {quorum()} that the network needs", "role")


def require_successors(authority: Authority, lost: Lost, now: datetime) -> None:
    """That for each writer's streams another one is in force. Raises NoSuccessor."""
    ended = [grant.prefix for _, grant in _grants(authority, lost, now) if grant.role == WRITER]
    if not ended:
        return
    others = [
        grant.prefix
        for known in authority.holders(WRITER)
        for grant in known.in_force(WRITER, now)
        if not _is_lost(lost, known.key, grant)
    ]
    for prefix in ended:
        if not cover_all(prefix, others):
            raise NoSuccessor(f"nobody else signs the events of {prefix or 'all streams'}; register another writer first")


def _grants(authority: Authority, lost: Lost, now: datetime) -> Iterator[tuple[KeyAuthority, Granted]]:
    """What the keys have in force of what they lose."""
    for key in lost:
        known = authority.of(key)
        if known is not None and not known.revoked:
            yield from ((known, grant) for grant in known.grants if grant.is_in_force(now) and _is_lost(lost, key, grant))


def _is_lost(lost: Lost, key: str, grant: Granted) -> bool:
    pairs = lost.get(key, ())
    return pairs is None or (grant.role, grant.prefix) in pairs


def _is_registrar(grant: Granted) -> bool:
    """One of all keys: whoever registers in one corner only does not keep the network alive."""
    return grant.role == REGISTRAR and covers(grant.prefix, KEYS)
