"""How events that change who may act change the tables of authority. Rows are ended, never deleted."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import orjson

from adapters.sql.driver import Said
from commands import AuthorityChange, Grant, Limit, Withdrawal
from contracts import rfc3339

Change = tuple[AuthorityChange, str, int]
"""With the shard and sequence of the event that makes it."""
Given = tuple[Grant, str, int]

_MOVE = "update authority_keys set shard = ?, sequence = ? where key = ?"
_REVOKE = "update authority_keys set revoked = true, shard = ?, sequence = ? where key = ?"
# A key has one person for ever: only a row that nothing was said of takes one.
_FOLLOW = (
    "update authority_keys set follows = ?, followed_at = ?,"
    " person = coalesce((select before.person from authority_keys before where before.key = ?), ?)"
    " where key = ? and shard = ''"
)
_THESE = "key = ? and role = ? and prefix = ? and ended is null"
_END = f"update authority_grants set ended = ? where {_THESE}"  # noqa: S608  our names
_END_ALL = "update authority_grants set ended = ? where key = ? and ended is null"
_LIMIT = f"update authority_grants set not_after = ? where {_THESE} and not_after > ?"  # noqa: S608  our names
_PUT = (
    "insert into authority_grants (key, role, prefix, shard, sequence, since, not_after, consents)"
    " values (?, ?, ?, ?, ?, ?, ?, ?)"
)
_GIVEN = (
    "insert into authority_given (by_key, key, since) values (?, ?, ?)"
    " on conflict (by_key, key) do update set since = excluded.since"
)


def changed(authority: Iterable[Change]) -> Iterator[Said]:
    """Changes in their order."""
    # A run of grants at once: a fleet registers by the thousand.
    for is_grant, run in groupby(authority, lambda entry: isinstance(entry[0], Grant)):
        if is_grant:
            for layer in _layers([(change, shard, n) for change, shard, n in run if isinstance(change, Grant)]):
                yield from granted(layer)
        else:
            for change, shard, sequence in run:
                yield from _ended(change, shard, sequence)


def _layers(grants: Sequence[Given]) -> Iterator[list[Given]]:
    """In their order, such that none replaces another one of its layer."""
    layer: dict[tuple[str, str, str], Given] = {}
    for given in grants:
        grant, shard, sequence = given
        place = (grant.key, grant.role, grant.prefix)
        before = layer.get(place)
        # What one event says twice of a role is what it says last.
        if before is not None and before[1:] != (shard, sequence):
            yield list(layer.values())
            layer = {}
        layer[place] = given
    yield list(layer.values())


def granted(grants: Sequence[Given]) -> Iterator[Said]:
    """Of keys that are there already, each role on each prefix once."""
    follows = {grant.key: (grant.follows, rfc3339(grant.since)) for grant, _, _ in grants if grant.follows}
    if follows:
        yield Said(_FOLLOW, [(of, at, of, of, key) for key, (of, at) in follows.items()], many=True)
    yield Said(_MOVE, [(shard, sequence, grant.key) for grant, shard, sequence in grants], many=True)
    yield Said(_END, [(rfc3339(grant.since), grant.key, grant.role, grant.prefix) for grant, _, _ in grants], many=True)
    rows = [
        (
            grant.key, grant.role, grant.prefix, shard, sequence, rfc3339(grant.since), rfc3339(grant.not_after),
            orjson.dumps([[consent.key, consent.person] for consent in grant.consents]).decode() if grant.consents else None,
        )
        for grant, shard, sequence in grants
    ]  # fmt: skip
    yield Said(_PUT, rows, many=True)
    given = {(by, grant.key): rfc3339(grant.since) for grant, _, _ in grants for by in _by(grant)}
    if given:
        yield Said(_GIVEN, [(*place, since) for place, since in given.items()], many=True)


def _by(grant: Grant) -> Iterator[str]:
    yield from (consent.key for consent in grant.consents)
    if grant.follows:
        yield grant.follows


def _ended(change: AuthorityChange, shard: str, sequence: int) -> Iterator[Said]:
    match change:
        case Withdrawal(key=key, role=None, at=at):
            yield Said(_END_ALL, (rfc3339(at), key))
            yield Said(_REVOKE, (shard, sequence, key))
        case Withdrawal(key=key, role=role, prefix=prefix, at=at):
            yield Said(_END, (rfc3339(at), key, role, prefix))
            yield Said(_MOVE, (shard, sequence, key))
        case Limit(key=key, role=role, prefix=prefix, until=until):
            yield Said(_LIMIT, (rfc3339(until), key, role, prefix, rfc3339(until)))
            yield Said(_MOVE, (shard, sequence, key))
        case Grant():
            yield from granted([(change, shard, sequence)])
