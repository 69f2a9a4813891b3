"""The witness by HTTP: what it cosigns, what it refuses, and that it never cosigns two trees."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters import keys
from adapters.tlog.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from adapters.tlog.notes import ED25519, NoteKey, NoteSigner
from adapters.tlog.submissions import SIZE_TYPE, Submission, SubmissionInvalid
from adapters.tlog.tree import EMPTY_ROOT, consistency_proof, leaf_hash, root_of
from ops.witness import Witness, witness_app
from tests.adapters.http.served import SIGNER, WITNESSES, Answer, fetch, listening, send

STRANGER = NoteSigner.of("stranger.example", bytes([9]) * 32)
IMPOSTOR = NoteSigner.of(SIGNER.key.name, bytes([9]) * 32)


class Tree:
    """A tree of our making: its leaves, and from one of them on others."""

    def __init__(self, forked_at: int | None = None) -> None:
        self.leaves = [leaf_hash(b"%d%s" % (n, b"!" * (forked_at is not None and n >= forked_at))) for n in range(200)]

    def note(self, size: int, signer: NoteSigner = SIGNER) -> str:
        return sign_checkpoint(Checkpoint(signer.key.name, size, root_of(self.leaves[:size])), signer)

    def proof(self, old: int, size: int) -> list[bytes]:
        return consistency_proof(old, size, lambda start, end: root_of(self.leaves[start:end]))

    def submission(self, old: int, size: int, signer: NoteSigner = SIGNER) -> bytes:
        return Submission(old, self.proof(old, size), self.note(size, signer)).encode()


TREE = Tree()


class Asked:
    """A witness that listens, and what it is asked."""

    def __init__(self, base: str) -> None:
        self.base = base

    def post(self, body: bytes) -> Answer:
        return send(self.base, "/add-checkpoint", "POST", body, {})


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(WITNESSES[0], tmp_path / "witness.db", [SIGNER.key])
    yield made
    made.engine.dispose()


@pytest.fixture
def asked(witness: Witness) -> Iterator[Asked]:
    with listening(lambda: witness_app(witness)) as base:
        yield Asked(base)


def signed_at(answer: Answer, size: int, tree: Tree = TREE) -> int:
    """When the answer's cosignature was made. Fails unless it is good."""
    assert answer.status == 200, answer.text
    checkpoint, note = open_checkpoint(tree.note(size).encode() + answer.body, SIGNER.key, [WITNESSES[0].key])
    assert checkpoint.size == size
    [seconds] = [signed.posix_seconds for signed in note.signatures if signed.key == WITNESSES[0].key]
    return seconds


def test_a_head_that_continues_the_last_one_is_cosigned(asked: Asked) -> None:
    before = int(time.time())
    answers = [asked.post(TREE.submission(old, size)) for old, size in [(0, 1), (1, 7), (7, 7), (7, 64), (64, 200)]]

    times = [signed_at(answer, size) for answer, size in zip(answers, [1, 7, 7, 64, 200], strict=True)]

    assert all(before <= seconds <= time.time() for seconds in times)
    assert all(answer.headers["content-type"] == "text/plain; charset=utf-8" for answer in answers)


def test_asking_again_for_the_same_head_gives_the_same_answer(tmp_path: Path) -> None:
    """Whoever lost the answer asks from the size that he is told, however much later."""
    clock = count(1_700_000_000, 3600)
    witness = Witness(WITNESSES[0], tmp_path / "w.db", [SIGNER.key], now=lambda: next(clock))

    with listening(lambda: witness_app(witness)) as base:
        first = Asked(base).post(TREE.submission(0, 50))
        conflict, again = [Asked(base).post(TREE.submission(old, 50)) for old in (0, 50)]
        later = Asked(base).post(TREE.submission(50, 51))

    assert (conflict.status, conflict.body) == (409, b"50\n")
    assert conflict.headers["content-type"] == SIZE_TYPE
    assert (again.status, again.body) == (200, first.body)
    assert (signed_at(first, 50), signed_at(later, 51)) == (1_700_000_000, 1_700_003_600)


def test_another_size_than_the_last_one_is_a_conflict_that_names_it(asked: Asked) -> None:
    fresh = asked.post(TREE.submission(5, 9))
    asked.post(TREE.submission(0, 9))

    found = [asked.post(TREE.submission(old, size)) for old, size in [(0, 20), (8, 20), (10, 20), (3, 5), (0, 5), (20, 20)]]

    assert (fresh.status, fresh.body) == (409, b"0\n")
    assert [(answer.status, answer.body) for answer in found] == [(409, b"9\n")] * 6


def test_a_log_that_is_not_known_is_not_found(asked: Asked) -> None:
    assert asked.post(TREE.submission(0, 9, STRANGER)).status == 404


def test_a_head_that_the_log_has_not_signed_is_forbidden(asked: Asked) -> None:
    altered = TREE.submission(0, 9).replace(b"\n9\n", b"\n8\n")
    beside = TREE.submission(0, 9, IMPOSTOR) + SIGNER.line("another text\n").encode()

    assert [asked.post(body).status for body in (TREE.submission(0, 9, IMPOSTOR), altered, beside)] == [403] * 3
    assert asked.post(TREE.submission(1, 9)).body == b"0\n"


def test_signatures_of_others_are_ignored(asked: Asked) -> None:
    body = TREE.submission(0, 9) + IMPOSTOR.line("x\n").encode() + STRANGER.line("y\n").encode()

    signed_at(asked.post(body), 9)


def wrong_proofs() -> dict[str, bytes]:
    proof, note = TREE.proof(9, 20), TREE.note(20)
    flipped = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
    proofs = {"empty": [], "short": proof[1:], "long": [*proof, proof[0]], "flipped": flipped, "swapped": proof[::-1]}
    return {name: Submission(9, found, note).encode() for name, found in proofs.items()}


def test_a_proof_that_does_not_hold_is_unprocessable(asked: Asked) -> None:
    asked.post(TREE.submission(0, 9))
    of_a_fork = Tree(forked_at=4).submission(9, 20)
    with_a_proof_from_nothing = Submission(0, [bytes(32)], TREE.note(20)).encode()

    found = {name: asked.post(body).status for name, body in {**wrong_proofs(), "of a fork": of_a_fork}.items()}

    assert set(found.values()) == {422}, found
    assert asked.post(with_a_proof_from_nothing).body == b"9\n"
    signed_at(asked.post(TREE.submission(9, 20)), 20)


def test_nothing_is_proved_from_the_empty_tree(asked: Asked) -> None:
    assert asked.post(Submission(0, [bytes(32)], TREE.note(20)).encode()).status == 422


def test_another_tree_of_the_same_size_is_a_conflict_without_a_size(asked: Asked) -> None:
    """So says the protocol: the one who asks must not take it for a size to start again from."""
    asked.post(TREE.submission(0, 9))

    answer = asked.post(Tree(forked_at=4).submission(9, 9))

    assert answer.status == 409
    assert answer.headers["content-type"] != SIZE_TYPE
    assert "forked" in answer.text


def test_an_empty_tree_has_one_root(asked: Asked) -> None:
    empty, other = Checkpoint(SIGNER.key.name, 0, EMPTY_ROOT), Checkpoint(SIGNER.key.name, 0, bytes(32))

    statuses = [asked.post(Submission(0, [], sign_checkpoint(head, SIGNER)).encode()).status for head in (other, empty, empty)]

    assert statuses == [422, 200, 200]
    signed_at(asked.post(TREE.submission(0, 9)), 9)


GOOD = TREE.submission(9, 20)
LINES = GOOD.split(b"\n\n")[0]
WRONG_BODIES = {
    "nothing": b"",
    "no old size": GOOD.removeprefix(b"old 9\n"),
    "no number": GOOD.replace(b"old 9", b"old nine"),
    "a leading zero": GOOD.replace(b"old 9", b"old 09"),
    "a sign": GOOD.replace(b"old 9", b"old -9"),
    "two spaces": GOOD.replace(b"old 9", b"old  9"),
    "an older size that is larger": GOOD.replace(b"old 9", b"old 21"),
    "no empty line": GOOD.replace(b"\n\n", b"\n", 1),
    "a hash of 31 bytes": GOOD.replace(LINES, LINES + b"\n" + b"AAAA" * 10 + b"AA=="),
    "another spelling of a hash": GOOD.replace(LINES, LINES + b"\n" + b"A" * 42 + b"B="),
    "no base64": GOOD.replace(LINES, LINES + b"\n?"),
    "64 hashes": b"old 9" + (b"\n" + b"A" * 43 + b"=") * 64 + GOOD.removeprefix(LINES),
    "no UTF-8": GOOD.replace(b"audit", b"\xff"),
    "no checkpoint": LINES + b"\n\n",
    "a checkpoint of two lines": LINES + b"\n\n" + "audit.example/test/1\n9\n\n— a b\n".encode(),
}


@pytest.mark.parametrize("wrong", WRONG_BODIES)
def test_a_body_that_is_not_of_the_form_is_a_bad_request(witness: Witness, wrong: str) -> None:
    witness.add(TREE.submission(0, 9))
    with listening(lambda: witness_app(witness)) as base:
        answer = Asked(base).post(WRONG_BODIES[wrong])

    assert (answer.status, len(answer.text.splitlines())) == (400, 1)
    assert witness.heads() == {SIGNER.key.name: 9}


def test_requests_have_limits(asked: Asked) -> None:
    assert asked.post(b"x" * 200_000).status == 413
    assert fetch(asked.base, "/add-checkpoint").status == 405


def test_the_form_of_the_published_example_is_read() -> None:
    """The request body that c2sp.org/tlog-witness shows."""
    body = (
        "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n"
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()

    asked = Submission.parse(body)

    assert (asked.old, len(asked.proof)) == (20852014, 4)
    assert asked.encode() == body
    with pytest.raises(SubmissionInvalid):
        Submission.parse(body[:100])


# The requests and answers with which filippo.io/torchwood tests its litewitness, in their order. An unknown log was
# answered with 403 when they were written; it is 404 now.
SIGSUM = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = NoteKey(SIGSUM, ED25519, bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f"))
H1, H2 = "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
H3, H4 = "KgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
ROOT_1, ROOT_3 = "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0="
ROOT_5 = "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY="
SIGNED_1 = "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY="
SIGNED_3 = "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go="
SIGNED_5 = "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww="
INNER_12, INNER_01 = "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=", "wgiIFdZfYNv6WU1OllBKsWnLYIS/DBMqt8Uh/S4OukE="
TRANSCRIPT = [
    (0, [], 1, ROOT_1, SIGNED_1, SIGSUM, 200, ""),
    (1, [H1, H2], 3, ROOT_3, SIGNED_3.replace("6go=", "6gx="), SIGSUM, 403, ""),
    (1, [H1, H2], 3, ROOT_3, SIGNED_3, SIGSUM[:-1] + "3", 404, ""),
    (1, [], 3, ROOT_3, SIGNED_3, SIGSUM, 422, ""),
    (1, [H1, "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABA="], 3, ROOT_3, SIGNED_3, SIGSUM, 422, ""),
    (1, [H1, H2], 3, ROOT_3, SIGNED_3, SIGSUM, 200, ""),
    (1, [H1, INNER_12, H4], 5, ROOT_5, SIGNED_5, SIGSUM, 409, "3\n"),
    (3, [H2, H3, INNER_01, H4], 5, ROOT_5, SIGNED_5, SIGSUM, 200, ""),
    (0, [], 5, ROOT_5, SIGNED_5, SIGSUM, 409, "5\n"),
]


def test_it_answers_as_the_witness_did_that_somebody_else_wrote(tmp_path: Path) -> None:
    witness = Witness(WITNESSES[0], tmp_path / "w.db", [SIGSUM_KEY])

    with listening(lambda: witness_app(witness)) as base:
        for old, proof, size, root, signature, origin, status, body in TRANSCRIPT:
            lines = [f"old {old}", *proof, "", origin, str(size), root, "", f"— {origin} {signature}", ""]
            answer = Asked(base).post("\n".join(lines).encode())

            assert answer.status == status, (old, size, answer.text)
            assert not body or answer.text == body


# Forks and races


def test_of_racing_requests_for_forked_trees_one_is_cosigned(tmp_path: Path) -> None:
    """Two servers on one file, as after a start while the old one still ran."""
    chance, forks = random.Random(7), [Tree(forked_at=n * 3) for n in range(6)]
    witnesses = [Witness(WITNESSES[0], tmp_path / "w.db", [SIGNER.key]) for _ in range(2)]
    size, rounds = 0, 12

    with ExitStack() as stack, ThreadPoolExecutor(12) as pool:
        asked = [Asked(stack.enter_context(listening(lambda w=w: witness_app(w)))) for w in witnesses]  # type: ignore[misc]
        tree = TREE
        for _ in range(rounds):
            larger = size + chance.randint(1, 12)
            # Every fork proves its own consistency; those that part from the last head cannot.
            bodies = [(fork, fork.submission(size, larger)) for fork in [tree, *forks] for _ in range(2)]
            chance.shuffle(bodies)
            answers = list(pool.map(lambda pair: asked[pair[0] % 2].post(pair[1][1]), enumerate(bodies)))
            cosigned = {fork for (fork, _), answer in zip(bodies, answers, strict=True) if answer.status == 200}
            roots = {root_of(fork.leaves[:larger]) for fork in cosigned}

            assert len(roots) == 1
            assert {answer.status for answer in answers} <= {200, 409, 422}
            [tree, *_] = cosigned
            size = larger

    assert witnesses[0].heads() == {SIGNER.key.name: size}


def test_two_threads_of_different_sizes_never_take_the_witness_back(asked: Asked, witness: Witness) -> None:
    """The race that the protocol warns of."""
    sizes = list(range(1, 60))
    random.Random(3).shuffle(sizes)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda size: asked.post(TREE.submission(0, size)), sizes))

    cosigned = [size for size, answer in zip(sizes, answers, strict=True) if answer.status == 200]
    assert len(cosigned) == 1
    assert witness.heads() == {SIGNER.key.name: cosigned[0]}


@pytest.mark.parametrize(
    "statement",
    ["update heads set size = size - 1", "update heads set root = zeroblob(32)", "delete from heads",
     "insert or replace into heads select origin, size, zeroblob(32), posix_seconds from heads"],
)  # fmt: skip
def test_what_was_cosigned_is_not_taken_back_in_the_file(witness: Witness, statement: str) -> None:
    witness.add(TREE.submission(0, 9))

    with pytest.raises(Exception, match=r"only grows|stays"), witness.engine.begin() as connection:
        connection.execute(text(statement))


def test_only_a_key_that_cosigns_makes_a_witness(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cosigns"):
        Witness(SIGNER, tmp_path / "w.db", [SIGNER.key])


# The process

RUN = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.pool import Pool
from adapters.tlog.notes import NoteKey
from ops.witness import run_witness

folder, log, dies_at = Path(sys.argv[1]), NoteKey.parse(sys.argv[2]), int(sys.argv[3])
passes = 0

@event.listens_for(Pool, "checkin")
def _(*_):
    # The connection comes back when the transaction is over: the head is stored, and the answer is not sent.
    global passes
    passes += listening.is_set()
    if dies_at and passes == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)

listening = asyncio.Event()

def tell(port):
    listening.set()
    print(port, flush=True)

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_witness("witness.example/run", folder / "w.key", folder / "w.db", [log],
                      host="127.0.0.1", port=0, stop=stop, on_listening=tell)

asyncio.run(main())
"""


def started(folder: Path, dies_at: int = 0) -> "tuple[subprocess.Popen[str], Asked]":
    arguments = [sys.executable, "-c", RUN, str(folder), str(SIGNER.key), str(dies_at)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout is not None
    return process, Asked(f"http://127.0.0.1:{int(process.stdout.readline())}")


def test_a_witness_that_dies_before_it_answers_gives_the_same_answer_later(tmp_path: Path) -> None:
    keys.write_key(tmp_path / "w.key")
    first, asked = started(tmp_path, dies_at=1)
    with pytest.raises(ConnectionError):
        asked.post(TREE.submission(0, 50))
    died = first.wait(20)

    second, asked = started(tmp_path)
    conflict, fork = asked.post(TREE.submission(0, 50)), asked.post(Tree(forked_at=3).submission(50, 50))
    answers = [asked.post(TREE.submission(50, 50)) for _ in range(2)]
    second.terminate()

    assert died == -9
    assert (conflict.status, conflict.body, fork.status) == (409, b"50\n", 409)
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    assert second.wait(20) == 0


def test_it_says_who_it_is_and_what_it_cosigned_and_not_its_secret(tmp_path: Path) -> None:
    keys.write_key(tmp_path / "w.key")
    seed = keys.read_seed(tmp_path / "w.key")
    process, asked = started(tmp_path)

    asked.post(TREE.submission(0, 50))
    shown = fetch(asked.base, "/").text
    process.terminate()

    key = NoteKey.parse(shown.splitlines()[0])
    assert key.name == "witness.example/run"
    assert shown.splitlines()[1:] == [f"{SIGNER.key.name} 50"]
    assert not any(secret in shown for secret in (seed.hex(), hashlib.sha256(seed).hexdigest()))
