"""Our reader of signed notes and the standalone verifier's: two hands that did not copy, and one answer to each note."""

import base64
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.tlog.checkpoints import Checkpoint, sign_checkpoint
from adapters.tlog.notes import NoteInvalid, NoteKey, open_note
from ops import auditverify
from tests.independent.history import LOG, WITNESSES, Deployed, History, hand_out
from tests.independent.verifier import Stranger, read_pack, repaired, write_zip

HEAD = Checkpoint(LOG.key.name, 7, bytes(range(32)))
NOTE = sign_checkpoint(HEAD, LOG)
SECONDS = 1_767_300_000
UNKNOWN = "— somebody.example AAAAAAAAAAAAAAAA\n"


def cosigned(seconds: int, witness: int = 0) -> str:
    return WITNESSES[witness].line(HEAD.text, seconds)


ODD: dict[str, str] = {
    "as it should be": NOTE + cosigned(SECONDS) + cosigned(SECONDS + 1, 1),
    "a witness that counts milliseconds": NOTE + cosigned(SECONDS * 1000),
    "the last second of the year 9999": NOTE + cosigned(253_402_300_799),
    "the second after it": NOTE + cosigned(253_402_300_800),
    "the largest time there is": NOTE + cosigned(2**63 - 1),
    "a time that is none": NOTE + cosigned(2**63),
    "the largest number": NOTE + cosigned(2**64 - 1),
    "a witness twice": NOTE + cosigned(SECONDS) + cosigned(SECONDS),
    "a witness at two times": NOTE + cosigned(SECONDS) + cosigned(SECONDS + 100),
    "the log twice": NOTE + NOTE.rpartition("\n\n")[2],
    "somebody twice": NOTE + UNKNOWN * 2,
    "99 of somebody": NOTE + UNKNOWN * 99,
    "100 of somebody": NOTE + UNKNOWN * 100,
    "a name with a wide space": NOTE + "— some\u3000body AAAAAAAAAAAAAAAA\n",
    "a name with a control character": NOTE + "— some\x01body AAAAAAAAAAAAAAAA\n",
    "a name with a plus": NOTE + "— some+body AAAAAAAAAAAAAAAA\n",
    "no name": NOTE + "—  AAAAAAAAAAAAAAAA\n",
    "two spaces": NOTE + "— somebody  AAAAAAAAAAAAAAAA\n",
    "four bytes": NOTE + "— somebody AAAAAA==\n",
    "loose base64": NOTE + "— somebody AAAAAAB=\n",
    "another dash": NOTE + "- somebody AAAAAAAAAAAAAAAA\n",
    "a junk line": NOTE + "junk\n",
    "an empty line at the end": NOTE + "\n",
    "no newline at the end": NOTE[:-1],
    "no signature": HEAD.text + "\n",
    "a text alone": HEAD.text,
    "a return": NOTE.replace("\n7\n", "\r\n7\r\n"),
    "nothing": "",
}


def ours(note: bytes) -> dict[str, int] | None:
    keys = [LOG.key, *(witness.key for witness in WITNESSES)]
    try:
        return {signed.key.name: signed.posix_seconds for signed in open_note(note, keys).signatures}
    except NoteInvalid as error:
        return {} if "nobody" in str(error) else None


def theirs(note: bytes) -> dict[str, int] | None:
    keys = [auditverify.note_key(str(key)) for key in (LOG.key, *(witness.key for witness in WITNESSES))]
    try:
        return {key.name: seconds for key, seconds in auditverify.open_checkpoint(note, keys).signed.items()}
    except Exception:
        return None


@pytest.mark.parametrize("name", ODD)
def test_both_readers_take_or_refuse_an_odd_note_alike(name: str) -> None:
    raw = ODD[name].encode()

    assert ours(raw) == theirs(raw)


def test_both_readers_take_or_refuse_a_note_with_any_byte_changed_alike() -> None:
    """The verifier reads the text as a checkpoint besides; so the bytes are those of its signatures."""
    whole, chance = ODD["as it should be"].encode(), random.Random(7)
    start = whole.index(b"\n\n") + 2
    for at in range(start, len(whole)):
        changed = bytearray(whole)
        changed[at] = chance.randrange(256)

        assert ours(bytes(changed)) == theirs(bytes(changed)), bytes(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key, lambda key: key[:-1], lambda key: key + "=", lambda key: key.replace("+", " ", 1),
        lambda key: "some\u3000name" + key[key.index("+") :], lambda key: "", lambda key: key.split("+")[0],
        lambda key: f"{key.rpartition('+')[0]}+{base64.b64encode(bytes([9]) + bytes(32)).decode()}",
    ],
)  # fmt: skip
def test_both_readers_take_or_refuse_a_key_alike(change: Callable[[str], str]) -> None:
    text = change(str(LOG.key))

    def taken(read: Callable[[str], object]) -> bool:
        try:
            read(text)
        except (ValueError, IndexError):
            return False
        return True

    assert taken(NoteKey.parse) == taken(auditverify.note_key)


@pytest.mark.parametrize("odd", ["a witness that counts milliseconds", "a witness twice", "a time that is none"])
def test_a_head_that_is_only_odd_is_inconclusive_and_accuses_nobody(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, odd: str
) -> None:
    """Its quorum is not met, or the note is malformed: that is no tampering."""
    from adapters.audit.packs import write_bundle
    from adapters.audit.search import Filter

    history = History()
    history.found()
    made, (policy, genesis) = Deployed(tmp_path / "log", history), hand_out(tmp_path / "given")
    files = read_pack(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0)).path)
    stranger = Stranger.in_folder(tmp_path_factory.mktemp("stranger"))
    heads = {
        "a witness that counts milliseconds": made.witnessed(at=SECONDS * 1000),
        "a witness twice": made.witnessed(None, *WITNESSES[:2], *WITNESSES[:2]),
        "a time that is none": made.witnessed(at=2**63),
    }
    pack = write_zip(tmp_path / "q.zip", repaired({**files, "checkpoint": heads[odd].encode()}))

    found = stranger.verify(pack, "--policy", policy, "--genesis", genesis, "--without-commands")

    assert (found.code, found.answer["found"]) == (3, [])
    assert "has not cosigned" in str(found.answer["unclear"]) or "is malformed" in str(found.answer["unclear"])
    made.engine.dispose()
