"""Having heads cosigned: by real witnesses over HTTP, and by such as answer wrongly, late or not at all."""

import asyncio
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text

from adapters.audit import tables
from adapters.audit.cosignatures import (
    PAGE,
    Cosignature,
    cosignatures_of,
    last_cosigned,
    newest_witnessed,
    resolve_refusal,
    standing_refusal,
    store_cosignature,
)
from adapters.audit.log import AuditLog, NotInLog
from adapters.audit.policy import Policy
from adapters.audit.signing import Forked, RolledBack
from adapters.audit.witnesses import (
    Gathered,
    WitnessRefused,
    compare_with_witnesses,
    gather_cosignatures,
    witness_session,
)
from adapters.http import new_app
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.notes import NoteSigner
from adapters.tlog.submissions import SIZE_TYPE, Submission
from ops.witness import Witness, witness_app
from tests.adapters.http.served import SIGNER, WITNESSES, Log, listening, log_in, policy_of

NOW = 1_800_000_000


@pytest.fixture
def log(store_url: str, tmp_path: Path) -> Iterator[Log]:
    with log_in(tmp_path, "log", 60, store_url) as made:
        yield made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def witness(stack: ExitStack, folder: Path, number: int = 0) -> str:
    """A real one, and where it listens."""
    made = Witness(WITNESSES[number], folder / f"w{number}.db", [SIGNER.key], now=lambda: NOW)
    stack.callback(made.engine.dispose)
    return stack.enter_context(listening(lambda: witness_app(made)))


def gather(log: Log, policy: Policy, timeout_seconds: float = 5.0) -> Gathered:
    async def run() -> Gathered:
        async with witness_session(timeout_seconds) as session:
            return await gather_cosignatures(log.audit, policy, session, now=lambda: NOW)

    return asyncio.run(run())


Answering = Callable[[Submission], web.Response]


def answering(stack: ExitStack, answer: Answering) -> str:
    """Somebody who speaks the protocol in a way of his own."""

    async def add_checkpoint(request: web.Request) -> web.Response:
        return answer(Submission.parse(await request.read()))

    def app() -> web.Application:
        made = new_app(131_072)
        made.router.add_post("/add-checkpoint", add_checkpoint)
        return made

    return stack.enter_context(listening(app))


def cosigned(asked: Submission, signer: NoteSigner, seconds: int = NOW, note: str | None = None) -> str:
    found = note or asked.checkpoint
    return signer.line(found[: found.rindex("\n\n") + 1], seconds)


def test_heads_are_cosigned_one_after_another(log: Log, stack: ExitStack, tmp_path: Path) -> None:
    """From the first, for which there is nothing to prove, over some that the witness never saw."""
    policy = policy_of({0: witness(stack, tmp_path, 0) + "/", 1: witness(stack, tmp_path, 1)}, quorum=2)
    for start, end in [(0, 1), (1, 20)]:
        log.grow(start, end)
        found = gather(log, policy)
        assert found == Gathered(log.size, frozenset({"w0", "w1"}), {}, True)
    log.grow(20, 21)
    log.grow(21, 60)

    last = gather(log, policy)

    assert last.is_met
    newest = newest_witnessed(log.engine, policy)
    assert newest is not None
    checkpoint, note = open_checkpoint(newest[1].encode(), SIGNER.key, [signer.key for signer in WITNESSES])
    assert (checkpoint.size, {signed.posix_seconds for signed in note.signatures}) == (log.size, {0, NOW})
    assert len(note.signatures) == 3
    assert len(cosignatures_of(log.engine, policy, log.size)) == 2


def test_who_has_cosigned_is_not_asked_again(log: Log, stack: ExitStack) -> None:
    asked: list[int] = []

    def answer(submission: Submission) -> web.Response:
        asked.append(submission.old)
        return web.Response(text=cosigned(submission, WITNESSES[0]))

    policy = policy_of({0: answering(stack, answer)})
    log.grow(0, 5)
    first = log.size

    found = [gather(log, policy), gather(log, policy)]
    log.grow(5, 9)
    gather(log, policy)

    assert [each.cosigned for each in found] == [{"w0"}, {"w0"}]
    assert asked == [0, first]


def test_a_witness_that_is_ahead_of_our_memory_is_asked_once_more(log: Log, stack: ExitStack, tmp_path: Path) -> None:
    """It cosigned, and its answer was lost: it says which size it knows, and gets its proof from there."""
    asked: list[int] = []
    url = witness(stack, tmp_path)
    log.grow(0, 5)
    gather(log, policy_of({0: url}))
    known = log.size
    with log.engine.begin() as connection:
        drop = "drop trigger audit_cosignatures_no_delete" + (
            "" if "sqlite" in str(log.engine.url) else " on audit_cosignatures"
        )
        connection.execute(text(drop.replace("no_delete on", "no_change on")))
        connection.execute(text("delete from audit_cosignatures"))
    log.grow(5, 9)

    found = gather(log, policy_of({0: url}))

    assert asked == []
    assert found.cosigned == {"w0"}
    assert last_cosigned(log.engine, WITNESSES[0].key) == log.size > known


def test_a_witness_that_names_another_size_each_time_is_let_be(log: Log, stack: ExitStack) -> None:
    """Once more, and no further; and it may only send us to a size that we have signed."""
    sizes = iter([3, 4, 5])
    policy = policy_of({0: answering(stack, lambda _: conflict(next(sizes)))})
    log.grow(0, 5)

    found = gather(log, policy)

    assert "another size each time" in found.missing["w0"]
    assert next(sizes) == 5
    assert standing_refusal(log.engine) is None


def conflict(size: int | str) -> web.Response:
    return web.Response(status=409, body=f"{size}\n".encode(), content_type=SIZE_TYPE)


# Witnesses that do not answer, or not well


def test_a_witness_that_is_silent_delays_only_the_witnessed_head(log: Log, stack: ExitStack, tmp_path: Path) -> None:
    """The others are asked at the same time; the head is served; and the quorum may be met without it."""
    one, other = ExitStack(), witness(stack, tmp_path, 1)
    urls: dict[int, str | None] = {0: witness(one, tmp_path, 0), 1: other}
    both, any_of_them = policy_of(urls, 2), policy_of(urls, 1)
    log.grow(0, 5)
    gather(log, both)
    witnessed = log.size

    one.close()
    log.grow(5, 9)
    found = gather(log, both)

    assert found.cosigned == {"w1"}
    assert (found.is_met, list(found.missing)) == (False, ["w0"])
    assert (newest_witnessed(log.engine, both) or (0,))[0] == witnessed
    assert (newest_witnessed(log.engine, any_of_them) or (0,))[0] == log.audit.checkpoint()[0] == log.size > witnessed
    assert standing_refusal(log.engine) is None


def test_a_witness_that_never_answers_is_not_waited_for_longer_than_said(log: Log, stack: ExitStack) -> None:
    """It takes the connection and says nothing."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    log.grow(0, 5)

    found = gather(log, policy_of({0: f"http://127.0.0.1:{listener.getsockname()[1]}"}), timeout_seconds=0.3)

    assert found.missing["w0"]


SILENCES: dict[str, tuple[str, Answering]] = {
    "403": ("does not know our key", lambda _: web.Response(status=403, text="who are you\n")),
    "404": ("does not know our origin", lambda _: web.Response(status=404)),
    "400": ("could not read", lambda _: web.Response(status=400)),
    "429": ("asked too often", lambda _: web.Response(status=429)),
    "500": ("it answered 500", lambda _: web.Response(status=500, text="<html>" + "x" * 10_000)),
    "a redirect": ("it answered 307", lambda _: web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})),
    "nothing": ("is refused: ", lambda _: web.Response(text="")),
    "nonsense": ("is no signature line", lambda _: web.Response(text="cosigned!\n")),
    "no newline": ("is refused: ", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0])[:-1])),
    "no UTF-8": ("UTF-8", lambda _: web.Response(body=b"\xff\xff\n")),
    "too much": ("16384 bytes", lambda _: web.Response(body=b"x" * 100_000)),
    "another witness": ("nobody whose key is known", lambda asked: web.Response(text=cosigned(asked, WITNESSES[2]))),
    "a bad signature": (
        "the signature of witness.example/w0 is bad",
        lambda asked: web.Response(text=cosigned(asked, WITNESSES[0], note="another\n1\nhead\n\n")),
    ),
    "two signatures": ("signed twice", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0]) * 2)),
    "yesterday's": ("it is of", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0], NOW - 86_401))),
    "tomorrow's": ("it is of", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0], NOW + 301))),
    "in milliseconds": ("before the year 10000", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0], NOW * 1000))),
    "beyond all time": ("above 2^63 - 1", lambda asked: web.Response(text=cosigned(asked, WITNESSES[0], 2**64 - 1))),
    "a conflict of no size": ("is no size", lambda _: conflict("about 7")),
    "a conflict about nothing": ("knows 0 leaves already", lambda _: conflict(0)),
    "a conflict of a proxy": ("it answered 409", lambda _: web.Response(status=409, text="conflict")),
}


@pytest.mark.parametrize("silence", SILENCES)
def test_what_is_no_cosignature_is_named_and_not_stored(tmp_path: Path, stack: ExitStack, silence: str) -> None:
    """And no alarm: a witness that is broken has not found a fork."""
    why, answer = SILENCES[silence]
    with log_in(tmp_path, "log", 5) as log:
        log.grow(0, 5)
        found = gather(log, policy_of({0: answering(stack, answer)}))

        assert why in found.missing["w0"]
        assert (found.cosigned, found.is_met) == (frozenset(), False)
        assert cosignatures_of(log.engine, policy_of({0: None}), log.size) == []
        assert standing_refusal(log.engine) is None


def test_cosignatures_of_strangers_beside_the_right_one_are_let_be(tmp_path: Path, stack: ExitStack) -> None:
    def answer(asked: Submission) -> web.Response:
        lines = [cosigned(asked, WITNESSES[2]), cosigned(asked, WITNESSES[0]), cosigned(asked, WITNESSES[3], note="x\n\n")]
        return web.Response(text="".join(lines))

    policy = policy_of({0: answering(stack, answer)})
    with log_in(tmp_path, "log", 5) as log:
        log.grow(0, 5)
        found = gather(log, policy)
        [stored] = cosignatures_of(log.engine, policy, log.size)

    assert found.cosigned == {"w0"}
    assert stored.line.startswith("— witness.example/w0 ")
    assert stored.line.count("\n") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "no url at all", "ftp://127.0.0.1/x", "http://"])
def test_a_url_where_nobody_is_makes_a_silent_witness(tmp_path: Path, url: str) -> None:
    policy = Policy.parse(f"witness w0 {WITNESSES[0].key} {url.replace(' ', '%20')}\nquorum w0\n".encode())
    with log_in(tmp_path, "log", 5) as log:
        log.grow(0, 5)
        found = gather(log, policy)

    assert found.missing["w0"]


def test_a_witness_without_a_url_is_not_asked(tmp_path: Path) -> None:
    with log_in(tmp_path, "log", 5) as log:
        log.grow(0, 5)
        found = gather(log, policy_of({0: None}))

    assert found.missing == {"w0": "it has no URL"}


def test_nothing_is_asked_before_anything_is_signed(tmp_path: Path) -> None:
    with log_in(tmp_path, "log", 5) as log, pytest.raises(NotInLog):
        gather(log, policy_of({0: "http://127.0.0.1:1"}))


# Forks


def test_of_two_logs_with_one_key_a_witness_cosigns_one(store_url: str, stack: ExitStack, tmp_path: Path) -> None:
    """The log's owner shows two auditors two histories: the second is refused, whatever size it has."""
    policy = policy_of({0: witness(stack, tmp_path)})
    first = stack.enter_context(log_in(tmp_path, "first", 60, store_url))
    for start in range(0, 30, 10):
        first.grow(start, start + 10)
    assert gather(first, policy).is_met

    statuses = {}
    for name, end in [("smaller", 20), ("of the same size", 30), ("larger", 40)]:
        forked = stack.enter_context(log_in(tmp_path, name, 60))
        # The same records in other batches; where the size is to be the same, as many of them.
        steps = {"smaller": [0, 20], "of the same size": [0, 5, 20, 30], "larger": [0, 40]}[name]
        for start, stop in pairwise(steps):
            forked.grow(start, stop)
        assert (name, forked.size > first.size, forked.size == first.size) == (name, end > 30, end == 30)
        with pytest.raises(WitnessRefused) as caught:
            gather(forked, policy)
        statuses[name] = caught.value.refusal.status
        assert standing_refusal(forked.engine) == caught.value.refusal

    assert statuses == {"smaller": 409, "of the same size": 409, "larger": 422}
    first.grow(30, 60)
    assert gather(first, policy).is_met


def test_a_log_that_was_restored_from_an_older_backup_is_refused(stack: ExitStack, tmp_path: Path) -> None:
    """Database and last-signed file alike, so that nothing on the machine can tell."""
    policy = policy_of({0: witness(stack, tmp_path)})
    log = stack.enter_context(log_in(tmp_path, "log", 60))
    log.grow(0, 10)
    gather(log, policy)
    log.engine.dispose()
    shutil.copytree(tmp_path / "log", tmp_path / "backup")
    log.grow(10, 40)
    gather(log, policy)

    restored = Log(f"sqlite:///{tmp_path}/backup/audit.db", tmp_path / "backup", log.shards)
    restored.grow(10, 15)
    with pytest.raises(WitnessRefused, match="we have signed") as caught:
        gather(restored, policy)
    restored.engine.dispose()

    assert caught.value.refusal.status == 409


def test_a_head_is_not_adopted_where_a_witness_knows_of_a_later_or_of_another_one(stack: ExitStack, tmp_path: Path) -> None:
    """Nothing on the machine can tell; it is asked with a head that was signed before, so that nothing is signed for it."""
    policy = policy_of({0: witness(stack, tmp_path), 1: None, 2: answering(stack, lambda _: web.Response(status=500))})
    log = stack.enter_context(log_in(tmp_path, "log", 60))
    older, newest = _grown(log, policy, 0, 5), _grown(log, policy, 5, 20)

    with pytest.raises(RolledBack, match=f"w0 has cosigned a tree of {newest[0]} leaves, and the head given has {older[0]}"):
        compare(log, policy, older)
    assert compare(log, policy, newest) == {"w1": "it has no URL", "w2": "it answered 500 : "}
    with log_in(tmp_path, "forked", 60) as forked:
        # The same records in other batches, and as many of them.
        for start, stop in pairwise((0, 4, 20)):
            forked.grow(start, stop)
        assert forked.size == newest[0]
        with pytest.raises(Forked, match="another tree"):
            compare(forked, policy, forked.audit.checkpoint())
    log.grow(20, 30)
    assert compare(log, policy, log.audit.checkpoint()).keys() == {"w1", "w2"}


def _grown(log: Log, policy: Policy, start: int, end: int) -> tuple[int, str]:
    log.grow(start, end)
    gather(log, policy)
    return log.audit.checkpoint()


def compare(log: Log, policy: Policy, head: tuple[int, str]) -> dict[str, str]:
    async def run() -> dict[str, str]:
        async with witness_session() as session:
            return await compare_with_witnesses(log.audit, policy, session, *head)

    return asyncio.run(run())


def test_a_refusal_stands_when_the_process_has_begun_again(log: Log, stack: ExitStack) -> None:
    """It is in the database, not in memory."""
    log.grow(0, 5)
    with pytest.raises(WitnessRefused, match=r"witness\.example/w0 refused the head of 16 leaves \(422\): no proof"):
        gather(log, policy_of({0: answering(stack, lambda _: web.Response(status=422, text="no proof\n"))}))

    with pytest.raises(WitnessRefused, match="no proof"):
        gather(log, policy_of({1: None}))


def test_a_witness_that_knows_more_than_we_ever_signed_refuses(tmp_path: Path, stack: ExitStack) -> None:
    with log_in(tmp_path, "log", 5) as log:
        log.grow(0, 5)
        with pytest.raises(WitnessRefused, match="cosigned 1000000000000 leaves, and we have signed 16 at most"):
            gather(log, policy_of({0: answering(stack, lambda _: conflict(10**12))}))


def test_while_a_refusal_stands_nobody_is_asked(log: Log, stack: ExitStack, tmp_path: Path) -> None:
    """Until an operator has looked into it; what the others cosigned meanwhile is kept."""
    asked: list[int] = []

    def refuse(submission: Submission) -> web.Response:
        asked.append(submission.old)
        return (
            web.Response(status=422, text="no proof\n")
            if len(asked) == 1
            else web.Response(text=cosigned(submission, WITNESSES[1]))
        )

    policy = policy_of({0: witness(stack, tmp_path), 1: answering(stack, refuse)})
    log.grow(0, 5)

    for _ in range(2):
        with pytest.raises(WitnessRefused, match="no proof"):
            gather(log, policy)
    kept = [found.key for found in cosignatures_of(log.engine, policy, log.size)]
    resolved = resolve_refusal(log.engine, NOW + 60, "a bug of that witness")
    again = gather(log, policy)

    assert kept == [WITNESSES[0].key]
    assert resolved is not None
    assert (resolved.status, resolved.witness, resolved.posix_seconds) == (422, str(WITNESSES[1].key), NOW)
    assert again.cosigned == {"w0", "w1"}
    assert asked == [0, 0]
    assert resolve_refusal(log.engine, NOW, "nothing stands") is None


# What is stored


@pytest.mark.parametrize("table", ["audit_cosignatures", "audit_refusals"])
@pytest.mark.parametrize("statement", ["update {} set size = 1", "delete from {}"])
def test_what_witnesses_said_is_not_taken_back(log: Log, table: str, statement: str) -> None:
    log.grow(0, 5)
    store_cosignature(log.engine, Cosignature(log.size, WITNESSES[0].key, NOW, "line\n"))
    with log.engine.begin() as connection:
        connection.execute(text("insert into audit_refusals values (1, 1, 1, 'w', 422, 'no')"))

    with pytest.raises(Exception, match="append-only"), log.engine.begin() as connection:
        connection.execute(text(statement.format(table)))


def test_the_first_cosignature_of_a_witness_stays(log: Log) -> None:
    log.grow(0, 5)
    lines = [cosigned(Submission(0, [], log.audit.checkpoint()[1]), WITNESSES[0], NOW + n) for n in range(2)]
    for n, line in enumerate(lines):
        store_cosignature(log.engine, Cosignature(log.size, WITNESSES[0].key, NOW + n, line))

    assert [found.line for found in cosignatures_of(log.engine, policy_of({0: None}), log.size)] == lines[:1]


def test_the_newest_witnessed_head_is_found_below_many_that_are_not(log: Log) -> None:
    """They are read in pages, which end in the middle of a head's cosignatures; what is stored under no head is nothing."""
    policy, note = policy_of({0: None, 1: None, 2: None}, quorum=2), log.grow(0, 4)
    for signer in WITNESSES[:2]:
        store_cosignature(log.engine, Cosignature(log.size, signer.key, NOW, cosigned(Submission(0, [], note), signer)))
    rows = [{"size": 100 + n, "witness": str(WITNESSES[2].key), "posix_seconds": NOW, "line": "—\n"} for n in range(PAGE - 1)]
    rows += [{**rows[-1], "witness": str(signer.key)} for signer in WITNESSES[:2]]
    with log.engine.begin() as connection:
        connection.execute(tables.cosignatures.insert(), rows)

    found = newest_witnessed(log.engine, policy)

    assert found is not None
    assert found[0] == log.size
    assert newest_witnessed(log.engine, policy, above=log.size) is None
    assert newest_witnessed(log.engine, policy_of({3: None})) is None


def test_several_processes_may_gather_at_once(log: Log, stack: ExitStack, tmp_path: Path) -> None:
    policy = policy_of({0: witness(stack, tmp_path)})
    log.grow(0, 30)

    async def run() -> list[Gathered]:
        async with witness_session() as session:
            audits = [AuditLog(log.engine) for _ in range(6)]
            asking = [gather_cosignatures(audit, policy, session, now=lambda: NOW) for audit in audits]
            return await asyncio.gather(*asking)

    found = asyncio.run(run())

    assert any(each.cosigned for each in found)
    assert standing_refusal(log.engine) is None
    assert len(cosignatures_of(log.engine, policy, log.size)) == 1
