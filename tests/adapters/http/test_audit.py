"""The log by HTTP, as a stranger sees it who has read c2sp.org and nothing of ours."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import event

from adapters.audit.cosignatures import Cosignature, store_cosignature
from adapters.audit.policy import Policy
from adapters.http import NotEntitled, audit_app, bearer
from adapters.http.published import Published
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.proofs import TlogProof
from adapters.tlog.submissions import Submission
from adapters.tlog.tiles import Tile
from adapters.tlog.tree import verify_consistency
from tests.adapters.http.served import SIGNER, WITNESSES, Answer, Log, fetch, listening, log_in, policy_of

TOKEN, REVOKED = "a token", "another token"
READER, FORMER = "did:key:z6MkReader", "did:key:z6MkFormer"
READERS = {hashlib.sha256(token.encode()).hexdigest(): did for token, did in [(TOKEN, READER), (REVOKED, FORMER)]}


async def tokens() -> Mapping[str, str]:
    return READERS


async def recorded(reader: str, first: int, last: int) -> None:
    """As it is decided: for who has the role."""
    del first, last
    if reader != READER:
        raise NotEntitled(f"{reader} has not the role")


@pytest.fixture
def log(store_url: str, tmp_path: Path) -> Iterator[Log]:
    """Signed at two sizes, and one batch longer than what was signed."""
    with log_in(tmp_path, "log", 210, store_url) as made:
        made.grow(0, 50)
        made.grow(50, 200)
        made.append(200, 210)
        yield made


class Site:
    """The log, served."""

    def __init__(self, log: Log, base: str) -> None:
        self.log, self.base = log, base
        self.reads: list[tuple[str, int, int]] = []

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return fetch(self.base, path, method, **headers)

    def entries(self, path: str, method: str = "GET", token: str = TOKEN, **headers: str) -> Answer:
        return self.get(path, method, Authorization=f"Bearer {token}", **headers)


@pytest.fixture
def site(log: Log) -> Iterator[Site]:
    made = Site(log, "")

    async def record(reader: str, first: int, last: int) -> None:
        await recorded(reader, first, last)
        made.reads.append((reader, first, last))

    def app() -> web.Application:
        return audit_app(log.audit, policy=policy_of({0: None}), may_read=bearer(tokens), on_entries=record)

    with listening(app) as base:
        made.base = base
        yield made


# A client of c2sp.org/tlog-tiles that uses nothing of ours.


def path_of(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_over(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return node(root_over(hashes[:middle]), root_over(hashes[middle:]))


def level_of(site: Site, level: int, size: int) -> list[bytes]:
    """All hashes of a level: full tiles, then the partial one."""
    count, found = size >> 8 * level, b""
    for index in range(count // 256):
        found += site.get(f"/tile/{level}/{path_of(index)}").body
    if count % 256:
        found += site.get(f"/tile/{level}/{path_of(count // 256)}.p/{count % 256}").body
    return [found[at : at + 32] for at in range(0, len(found), 32)]


def bundle(raw: bytes) -> list[bytes]:
    entries = []
    while raw:
        length = int.from_bytes(raw[:2], "big")
        entries.append(raw[2 : 2 + length])
        raw = raw[2 + length :]
    return entries


def head_of(note: str) -> tuple[int, bytes]:
    _, size, root, *_ = note.split("\n")
    return int(size), base64.b64decode(root)


def test_a_stranger_recomputes_the_root_from_tiles_and_from_entries(site: Site) -> None:
    """Of the newest signed head, with the leaves hashed from the entries and the upper level from the lower one."""
    size, root = head_of(site.get("/checkpoint").text)

    leaves = level_of(site, 0, size)
    found = [
        entry for index in range(size // 256) for entry in bundle(site.entries(f"/tile/entries/{path_of(index)}").unpacked)
    ]
    found += bundle(site.entries(f"/tile/entries/{path_of(size // 256)}.p/{size % 256}").unpacked)

    assert size == site.log.size > 512
    assert len(leaves) == size
    assert root_over(leaves) == root
    assert [hashlib.sha256(b"\x00" + entry).digest() for entry in found] == leaves
    assert level_of(site, 1, size) == [root_over(leaves[at : at + 256]) for at in range(0, size // 256 * 256, 256)]


def test_the_head_of_an_older_size_is_still_walked_by_its_partial_tiles(site: Site) -> None:
    """A log serves partial tiles of every size for which it signed a head."""
    with site.log.engine.connect() as connection:
        notes = connection.exec_driver_sql("select note from audit_checkpoints order by size").scalars().all()
    size, root = head_of(notes[0])

    assert size < site.log.size
    assert root_over(level_of(site, 0, size)) == root


def test_what_no_head_covers_is_not_there(site: Site) -> None:
    """The database holds more leaves than were signed; nobody is shown them, in whatever width he asks."""
    size, last = site.log.size, site.log.size // 256
    head = site.log.audit.head()
    assert head is not None
    assert size < head.size <= (last + 1) * 256

    covered = site.get(f"/tile/0/{path_of(last)}.p/{size % 256}")
    beyond = [f"/tile/0/{path_of(last)}.p/{width}" for width in (size % 256 + 1, head.size % 256, 255)]
    beyond += [f"/tile/0/{path_of(last)}", f"/tile/0/{path_of(last + 1)}.p/1", "/tile/2/000.p/1", "/tile/63/000.p/1"]

    assert covered.status == 200
    assert [site.get(path).status for path in beyond] == [404] * len(beyond)
    assert [site.entries(path.replace("/0/", "/entries/")).status for path in beyond[:5]] == [404] * 5
    assert site.get(f"/proof/{size}").status == site.get(f"/consistency?old=5&new={head.size}").status == 404
    assert all(site.get(path).headers["cache-control"] == "no-store" for path in beyond)


NOT_A_PATH = """
/tile/0/0 /tile/0/00 /tile/0/0000 /tile/0/1 /tile/0/x000/000 /tile/0/x000 /tile/0/000/000 /tile/00/000 /tile/64/000 /tile/-1/000
/tile/0/000.p/0 /tile/0/000.p/256 /tile/0/000.p/01 /tile/0/000.p/ /tile/0/000.p /tile/0/000.P/5 /tile/0/000/ /tile/0//000
//tile/0/000 /tile/0/%30%30%30 /tile/0/000%2Ep/5 /tile/0/%D9%A0%D9%A0%D9%A0 /tile/0/000?x=1 /tile/0/000? /tile/0/../0/000
/tile/data/000 /tile/Entries/000 /tile/ /tile /TILE/0/000 /tile/0/x999/x999/x999/x999/x999/x999/999
"""


def test_a_tile_has_one_path(site: Site) -> None:
    found = {path: site.get(path).status for path in NOT_A_PATH.split()}

    assert found == dict.fromkeys(NOT_A_PATH.split(), 404)


def test_an_index_is_spelled_in_groups_of_three_digits(site: Site) -> None:
    """1,234,067 is x001/x234/067: the example of the document is understood, though this log is not so long."""
    answer = site.get("/tile/0/x001/x234/067")

    assert (answer.status, answer.text) == (404, "no signed checkpoint covers tile/0/x001/x234/067 yet\n")


def test_tiles_are_kept_by_caches_for_ever_and_heads_never(site: Site) -> None:
    tile, head = site.get("/tile/0/000"), site.get("/checkpoint")

    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert tile.headers["content-type"] == "application/octet-stream"
    assert len(tile.body) == int(tile.headers["content-length"]) == 8192
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["content-type"] == "text/plain; charset=utf-8"
    assert open_checkpoint(head.body, SIGNER.key)[0].size == site.log.size


@pytest.mark.parametrize("path", ["/tile/0/000", "/tile/0/001.p/7", "/tile/entries/000"])
def test_who_has_a_tile_already_is_not_sent_it_again(site: Site, path: str) -> None:
    first = site.entries(path)

    again = site.entries(path, If_None_Match=first.headers["etag"])
    another = site.entries(path, If_None_Match='"something else"')

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert (another.status, another.body) == (200, first.body)


def test_head_says_what_get_would(site: Site) -> None:
    said = ("content-type", "content-length", "cache-control")

    for path in ("/checkpoint", "/tile/0/000", "/tile/entries/000", "/policy", "/proof/3", "/", "/healthz"):
        whole, head = site.entries(path), site.entries(path, "HEAD")

        assert (head.status, head.body) == (200, b"")
        assert [head.headers[name] for name in said] == [whole.headers[name] for name in said]


# Entries


def test_entries_are_for_readers_and_every_read_is_recorded_before_it_leaves(site: Site) -> None:
    width = site.log.size % 256

    nobody, unknown = site.get("/tile/entries/000"), site.entries("/tile/entries/000", token="guessed")
    former = site.entries("/tile/entries/000", token=REVOKED)
    before = list(site.reads)
    full, partial = site.entries("/tile/entries/001"), site.entries(f"/tile/entries/002.p/{width}")

    assert (nobody.status, unknown.status, former.status) == (401, 401, 403)
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert before == []
    assert (full.status, partial.status) == (200, 200)
    assert site.reads == [(READER, 256, 511), (READER, 512, 512 + width - 1)]
    assert full.headers["cache-control"].startswith("private")
    assert "Authorization" in full.headers["vary"]


def test_a_read_that_cannot_be_recorded_is_refused(log: Log) -> None:
    """And the next one is given again, from memory, only if it can."""
    answers = [RuntimeError("the secret reason"), None, RuntimeError("again")]

    async def record(reader: str, first: int, last: int) -> None:
        if (failure := answers.pop(0)) is not None:
            raise failure

    with listening(lambda: audit_app(log.audit, may_read=bearer(tokens), on_entries=record)) as base:
        found = [Site(log, base).entries("/tile/entries/000") for _ in range(3)]

    assert [answer.status for answer in found] == [503, 200, 503]
    assert all(len(answer.body) < 200 and b"secret" not in answer.body for answer in (found[0], found[2]))


def test_who_checks_readers_may_be_anybody(log: Log) -> None:
    async def by_name(request: web.Request) -> str | None:
        name = request.headers.get("X-Client")
        if name == "mallory":
            raise NotEntitled("mallory may not")
        return name

    with listening(lambda: audit_app(log.audit, may_read=by_name)) as base:
        found = [fetch(base, "/tile/entries/000", X_Client=name).status for name in ("alice", "mallory")]

    assert found == [200, 403]


def test_without_a_check_nobody_reads_entries(log: Log) -> None:
    with listening(lambda: audit_app(log.audit)) as base:
        assert fetch(base, "/tile/entries/000", Authorization=f"Bearer {TOKEN}").status == 401


def test_entries_are_packed_for_who_asks_for_it(site: Site) -> None:
    offers = {"gzip": True, "br, GZIP;q=0.5": True, "identity": False, "gzip;q=0, identity": False, "xgzip": False}
    plain = site.entries("/tile/entries/000")

    for accepted, is_packed in offers.items():
        answer = site.entries("/tile/entries/000", Accept_Encoding=accepted)

        assert ("content-encoding" in answer.headers) is is_packed
        assert answer.unpacked == plain.body
        assert (len(answer.body) < len(plain.body)) is is_packed


# Proofs


def test_a_proof_shows_that_the_entry_is_in_the_signed_tree(site: Site) -> None:
    last = site.log.size - 1

    for index in (0, 1, 255, 256, 300, 511, 512, last):
        checkpoint, _ = TlogProof.parse(site.get(f"/proof/{index}").text).verify(site.log.audit.entry(index), SIGNER.key)

        assert checkpoint.size == last + 1


def test_a_proof_is_made_for_an_older_head_that_was_signed_and_for_no_other_size(site: Site) -> None:
    with site.log.engine.connect() as connection:
        older = connection.exec_driver_sql("select min(size) from audit_checkpoints").scalar_one()
    entry = bundle(site.entries("/tile/entries/000").unpacked)[7]

    checkpoint, _ = TlogProof.parse(site.get(f"/proof/7?size={older}").text).verify(entry, SIGNER.key)

    assert checkpoint.size == older
    assert [site.get(f"/proof/7?size={size}").status for size in (0, 8, older + 1, 10**18)] == [404] * 4
    assert site.get(f"/proof/{older}?size={older}").status == 404


def test_consistency_is_shown_from_any_size_to_a_signed_one(site: Site) -> None:
    """In the form in which a witness is asked, so that the answer can be handed to one."""
    with site.log.engine.connect() as connection:
        older, root = connection.exec_driver_sql("select size, root from audit_checkpoints order by size limit 1").one()

    answer = Submission.parse(site.get(f"/consistency?old={older}").body)
    same = Submission.parse(site.get(f"/consistency?old={older}&new={older}").body)
    new, _ = open_checkpoint(answer.checkpoint.encode(), SIGNER.key)

    verify_consistency(older, new.size, answer.proof, bytes(root), new.root)
    assert (answer.old, new.size, same.proof) == (older, site.log.size, ())
    assert site.get(f"/consistency?old={new.size + 1}").status == 404


WRONG_QUESTIONS = """
/consistency /consistency?old= /consistency?old=-1 /consistency?old=01 /consistency?old=1&old=2 /consistency?old=1&new=x
/proof/x /proof/-1 /proof/1?size=1e3 /proof/999999999999999999999999999999
"""


def test_what_is_no_number_is_a_wrong_question(site: Site) -> None:
    for path in WRONG_QUESTIONS.split():
        answer = site.get(path)

        assert (path, answer.status) == (path, 400)
        assert len(answer.text.splitlines()) == 1


# Witnessed heads


def cosign(log: Log, witness: int, size: int) -> None:
    signer, seconds = WITNESSES[witness], 1_700_000_000
    with log.engine.connect() as connection:
        note = connection.exec_driver_sql(f"select note from audit_checkpoints where size = {size}").scalar_one()
    line = signer.line(note[: note.rindex("\n\n") + 1], seconds)
    store_cosignature(log.engine, Cosignature(size, signer.key, seconds, line))


def witnessed(log: Log, quorum: int = 2) -> Answer:
    with listening(lambda: audit_app(log.audit, policy=policy_of({0: None, 1: None, 2: None}, quorum))) as base:
        return fetch(base, "/checkpoint.witnessed")


def test_the_witnessed_head_is_the_newest_with_enough_cosignatures(log: Log) -> None:
    with log.engine.connect() as connection:
        older, newer = connection.exec_driver_sql("select size from audit_checkpoints order by size").scalars()
    cosign(log, 3, newer)
    nobody = witnessed(log)
    cosign(log, 0, older)
    cosign(log, 0, newer)
    too_few = witnessed(log)
    cosign(log, 2, older)
    older_one = witnessed(log)
    cosign(log, 1, newer)
    newer_one = witnessed(log)

    assert (nobody.status, too_few.status) == (404, 404)
    assert "not enough" in too_few.text
    for answer, size, by in [(older_one, older, (0, 2)), (newer_one, newer, (0, 1))]:
        checkpoint, note = open_checkpoint(answer.body, SIGNER.key, [signer.key for signer in WITNESSES])
        assert checkpoint.size == size
        assert {signed.key for signed in note.signatures} == {SIGNER.key, *(WITNESSES[n].key for n in by)}


def test_a_stored_cosignature_that_is_bad_is_left_out(log: Log) -> None:
    """One bad line of a known key makes a careful client reject the whole note."""
    size = log.size
    cosign(log, 0, size)
    bad = WITNESSES[1].line("another text\n", 1_700_000_000)
    store_cosignature(log.engine, Cosignature(size, WITNESSES[1].key, 1_700_000_000, bad))

    answers = [witnessed(log, quorum) for quorum in (2, 1)]

    assert [answer.status for answer in answers] == [404, 200]
    assert bad not in answers[1].text


def test_a_witnessed_head_is_seen_soon_after_it_is_cosigned(site: Site) -> None:
    """The process that serves does not gather."""
    before = site.get("/checkpoint.witnessed").status
    cosign(site.log, 0, site.log.size)

    deadline = time.monotonic() + 20
    while (answer := site.get("/checkpoint.witnessed")).status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)

    assert before == 404
    assert answer.status == 200


def test_a_proof_leads_to_the_witnessed_head_where_that_covers_the_entry(log: Log) -> None:
    """Whoever is handed it can check it against the policy, offline."""
    with log.engine.connect() as connection:
        older, newer = connection.exec_driver_sql("select size from audit_checkpoints order by size").scalars()
    cosign(log, 0, older)

    with listening(lambda: audit_app(log.audit, policy=policy_of({0: None}))) as base:
        proofs = [TlogProof.parse(fetch(base, f"/proof/{index}").text) for index in (7, older)]

    known = [WITNESSES[0].key]
    found = [proof.verify(log.audit.entry(proof.index), SIGNER.key, known) for proof in proofs]
    assert [(head.size, len(note.signatures)) for head, note in found] == [(older, 2), (newer, 1)]


def test_a_policy_that_asks_for_nobody_is_met_by_the_newest_head(log: Log) -> None:
    with listening(lambda: audit_app(log.audit, policy=Policy.parse(b"quorum none\n"))) as base:
        assert fetch(base, "/checkpoint.witnessed").body == fetch(base, "/checkpoint").body


# The rest


def test_the_policy_is_served_as_it_is_written(site: Site) -> None:
    assert site.get("/policy").body == policy_of({0: None}).encode()


def test_a_log_without_a_policy_says_so(log: Log) -> None:
    with listening(lambda: audit_app(log.audit)) as base:
        found = [fetch(base, path) for path in ("/policy", "/checkpoint.witnessed")]

    assert [(answer.status, "no policy" in answer.text) for answer in found] == [(404, True), (404, True)]


def test_a_log_that_nobody_has_signed_shows_nothing(store_url: str, tmp_path: Path) -> None:
    with log_in(tmp_path, "new", 5, store_url) as log:
        log.append(0, 5)
        with listening(lambda: audit_app(log.audit, may_read=bearer(tokens))) as base:
            paths = ("/checkpoint", "/tile/0/000.p/1", "/proof/0", "/consistency?old=0", "/")
            found = [fetch(base, path).status for path in paths]
            healthy = fetch(base, "/healthz")

    assert found == [404] * 5
    assert healthy.status == 200


def test_the_page_says_what_is_signed_by_whom_and_loads_nothing(site: Site) -> None:
    cosign(site.log, 0, site.log.size)
    site.log.sequencer.halt(site.log.shards[1].name, "<script>alert('a secret of a person')</script>")

    page = site.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in ("audit.example/test/1", f"{site.log.size:,} entries", "witness.example/w0", "tally.events/1", "halted"):
        assert text in page.text
    for text in ("<script", "src=", "secret"):
        assert text not in page.text


def test_a_failure_of_ours_is_told_without_its_reason(site: Site) -> None:
    """No statement, no name of a table, no line of code leaves."""

    @event.listens_for(site.log.engine, "before_cursor_execute")
    def _(*_: object) -> None:
        raise ValueError("a secret reason")

    answer = site.get("/checkpoint")

    assert (answer.status, answer.text) == (500, "this is a fault of ours\n")
    assert answer.headers["server"] == "spaceos"


def test_a_database_that_is_away_is_told_as_that(tmp_path: Path) -> None:
    with log_in(tmp_path, "away", 5) as log:
        log.grow(0, 5)
        with listening(lambda: audit_app(log.audit)) as base:
            before = fetch(base, "/healthz").status
            log.engine.dispose()
            (tmp_path / "away" / "audit.db").rename(tmp_path / "gone")
            (tmp_path / "away").rename(tmp_path / "away too")
            found = [fetch(base, path).status for path in ("/healthz", "/checkpoint", "/tile/0/000.p/3")]

    assert before == 200
    assert found == [503] * 3


def test_nothing_can_be_written(site: Site) -> None:
    assert [site.get("/checkpoint", method).status for method in ("POST", "PUT", "DELETE", "OPTIONS")] == [405] * 4


def test_requests_have_limits(site: Site) -> None:
    assert site.get("/tile/0/" + "x000/" * 2_000 + "000").status == 400
    assert site.get("/checkpoint", X_Long="a" * 5_000).status == 400


def test_a_tile_is_read_once_while_there_is_room_for_it(log: Log) -> None:
    """It never changes. The room is counted in bytes too: a bundle may be 2,000 times as long as a tile."""
    statements: list[object] = []
    event.listen(log.engine, "before_cursor_execute", lambda *_: statements.append(_))
    roomy, cramped = Published(log.audit), Published(log.audit, cached_bytes=10_000)

    read = []
    for published in (roomy, cramped):
        published.checkpoint()
        for index in (0, 1, 0, 0, 1):
            before = len(statements)
            published.tile(Tile(0, index))
            read.append(len(statements) > before)

    assert read == [True, True, False, False, False, *[True, True, True, False, True]]


def test_many_at_once_see_one_tree(site: Site) -> None:
    """From several threads, while the log grows."""
    found: list[tuple[int, bytes]] = []

    def walk() -> None:
        for _ in range(3):
            size, root = head_of(site.get("/checkpoint").text)
            assert root_over(level_of(site, 0, size)) == root
            found.append((size, root))

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for thread in threads:
        thread.start()
    site.log.sign()
    for thread in threads:
        thread.join()

    assert len(found) == 12
    assert len(dict(found)) == len({root for _, root in found})
