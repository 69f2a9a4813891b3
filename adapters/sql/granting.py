"""How events that change who may act change the tables of authority."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from adapters.sql.driver import Said
from commands import AuthorityChange, Grant
from contracts import rfc3339

_MOVE = "update authority_keys set shard = ?, sequence = ? where key = ?"
_REVOKE = "update authority_keys set revoked = true, shard = ?, sequence = ? where key = ?"
_FOLLOW = (
    "update authority_keys"
    " set person = coalesce((select before.person from authority_keys before where before.key = ?), ?) where key = ?"
)
_REMOVE = "delete from authority_grants where key = ? and role = ? and prefix = ?"
_PUT = "insert into authority_grants (key, role, prefix, not_after, shard, sequence) values (?, ?, ?, ?, ?, ?)"


def changed(authority: Iterable[tuple[AuthorityChange, str, int]]) -> Iterator[Said]:
    """Changes with the shard and sequence of the event that makes them."""
    # In their order, but a run of grants at once: a fleet registers by the thousand.
    for is_grant, run in groupby(authority, lambda entry: isinstance(entry[0], Grant)):
        if is_grant:
            yield from granted([(change, shard, n) for change, shard, n in run if isinstance(change, Grant)])
        else:
            for change, shard, sequence in run:
                yield from _withdrawn(change, shard, sequence)


def granted(grants: Sequence[tuple[Grant, str, int]]) -> Iterator[Said]:
    """Of keys that are there already."""
    newest = {(grant.key, grant.role, grant.prefix): (grant, shard, sequence) for grant, shard, sequence in grants}
    yield Said(_MOVE, [(shard, sequence, grant.key) for grant, shard, sequence in grants], many=True)
    yield Said(_REMOVE, list(newest), many=True)
    rows = [(*place, rfc3339(grant.not_after), shard, sequence) for place, (grant, shard, sequence) in newest.items()]
    yield Said(_PUT, rows, many=True)
    follows = {grant.key: grant.follows for grant, _, _ in grants if grant.follows}
    if follows:
        yield Said(_FOLLOW, [(before, before, successor) for successor, before in follows.items()], many=True)


def _withdrawn(change: AuthorityChange, shard: str, sequence: int) -> Iterator[Said]:
    if change.role is not None:
        yield Said(_REMOVE, (change.key, change.role, change.prefix))
    yield Said(_REVOKE if change.role is None else _MOVE, (shard, sequence, change.key))
