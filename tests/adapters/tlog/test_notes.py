"""Signed notes, checkpoints and proofs: the published examples, and what is refused."""

import base64

import pytest

from adapters.tlog.checkpoints import Checkpoint, cosign, open_checkpoint, sign_checkpoint
from adapters.tlog.notes import COSIGNATURE, MAX_SIGNATURES, NoteInvalid, NoteKey, NoteSigner, open_note, sign_note
from adapters.tlog.proofs import TlogProof
from adapters.tlog.tree import ProofInvalid, inclusion_proof, leaf_hash, root_of

# The example of golang.org/x/mod/sumdb/note. Its secret half is published with it.
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_NOTE = (
    PETER_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of c2sp.org/signed-note.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
LOG = NoteSigner.of("audit.example/dev/1", bytes(range(32)))
WITNESS = NoteSigner.of("witness.example/w1", bytes(32), COSIGNATURE)
STRANGER = NoteSigner.of("stranger.example", bytes([7]) * 32)
ENTRIES = [b"entry %d" % n for n in range(7)]
HEAD = Checkpoint("audit.example/dev/1", len(ENTRIES), root_of(map(leaf_hash, ENTRIES)))


def test_the_reference_implementations_example_byte_for_byte() -> None:
    signer = NoteSigner.of("PeterNeumann", PETER_SEED)

    assert str(signer.key) == PETER_KEY
    assert sign_note(PETER_TEXT, signer) == PETER_NOTE
    assert open_note(PETER_NOTE.encode(), [NoteKey.parse(PETER_KEY)]).text == PETER_TEXT


def test_the_specifications_example_is_read() -> None:
    assert open_note(SPEC_NOTE.encode(), [NoteKey.parse(SPEC_KEY)]).text == "This is an example message.\n"


@pytest.mark.parametrize(
    "key",
    [
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        PETER_KEY,
        SPEC_KEY,
    ],
)
def test_published_verifier_keys_are_read_and_written_again(key: str) -> None:
    assert str(NoteKey.parse(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "name",
        PETER_KEY.replace("c74f20a3", "c74f20a4"),
        PETER_KEY.replace("+ARpc", "+BRpc"),
        PETER_KEY[:-4],
        " " + PETER_KEY,
    ],
)
def test_a_key_that_contradicts_itself_is_none(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|id"):
        NoteKey.parse(key)


BROKEN = {
    "a changed text": PETER_NOTE.replace("answer", "Answer"),
    "no blank line": PETER_NOTE.replace("\n\n", "\n"),
    "no newline at its end": PETER_NOTE[:-1],
    "a control character": PETER_NOTE.replace("answer", "ans\x01wer"),
    "a carriage return": PETER_NOTE.replace("problem,\n", "problem,\r\n"),
    "no dash": PETER_NOTE.replace("— ", "- "),
    "no base64": PETER_NOTE.replace("x08go/", "x08g!/"),
    "a signature that is cut short": PETER_NOTE.replace("JnAM=\n", "\n"),
    "the same key twice": PETER_NOTE + PETER_NOTE.rpartition("\n\n")[2],
    "nothing": "",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_note_is_refused(name: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(BROKEN[name].encode(), [NoteKey.parse(PETER_KEY)])


def test_unknown_keys_are_ignored_and_a_known_bad_signature_is_not() -> None:
    note = sign_note("text\n", LOG, STRANGER)
    forged = sign_note("other\n", STRANGER).rpartition("\n\n")[2]

    assert [signed.key for signed in open_note(note.encode(), [LOG.key]).signatures] == [LOG.key]
    with pytest.raises(NoteInvalid, match="nobody"):
        open_note(sign_note("text\n", STRANGER).encode(), [LOG.key])
    with pytest.raises(NoteInvalid, match="bad"):
        open_note((sign_note("text\n", LOG) + forged).encode(), [LOG.key, STRANGER.key])


def test_a_hundred_signatures_are_read_and_one_more_is_refused() -> None:
    line = sign_note("text\n", STRANGER).rpartition("\n\n")[2]
    note = sign_note("text\n", LOG)

    assert open_note((note + line * (MAX_SIGNATURES - 1)).encode(), [LOG.key])
    with pytest.raises(NoteInvalid, match="at most"):
        open_note((note + line * MAX_SIGNATURES).encode(), [LOG.key])


def test_a_witness_says_when_he_saw_the_head() -> None:
    note = cosign(sign_checkpoint(HEAD, LOG), WITNESS, 1_679_315_147)

    checkpoint, found = open_checkpoint(note.encode(), LOG.key, [WITNESS.key])

    assert checkpoint == HEAD
    assert [(signed.key.name, signed.posix_seconds) for signed in found.signatures] == [
        (LOG.key.name, 0),
        (WITNESS.key.name, 1_679_315_147),
    ]


def test_a_cosignature_with_another_time_is_bad() -> None:
    note = cosign(sign_checkpoint(HEAD, LOG), WITNESS, 1_679_315_147)
    raw = bytearray(base64.b64decode(note.rsplit(" ", 1)[1]))
    raw[11] ^= 1
    altered = note.rsplit(" ", 1)[0] + " " + base64.b64encode(raw).decode() + "\n"

    with pytest.raises(NoteInvalid, match="bad"):
        open_checkpoint(altered.encode(), LOG.key, [WITNESS.key])


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
        "a\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


def test_lines_that_a_log_adds_to_its_checkpoint_are_let_be() -> None:
    assert Checkpoint.parse(HEAD.text + "more\n") == HEAD


def test_a_checkpoint_of_another_log_or_signed_by_witnesses_alone_is_refused() -> None:
    other = NoteSigner.of("audit.example/other/1", bytes(range(32)))

    with pytest.raises(NoteInvalid, match="not of"):
        open_checkpoint(sign_checkpoint(HEAD, other).encode(), other.key)
    with pytest.raises(NoteInvalid, match="has not signed"):
        open_checkpoint(sign_note(HEAD.text, WITNESS).encode(), LOG.key, [WITNESS.key])


def test_a_proof_is_one_file_that_says_all() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    note = sign_checkpoint(HEAD, LOG)
    path = inclusion_proof(4, len(leaves), lambda start, end: root_of(leaves[start:end]))
    text = str(TlogProof(4, path, note, extra=b"of the demo"))

    proof = TlogProof.parse(text)

    assert str(proof) == text
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert proof.verify(ENTRIES[4], LOG.key)[0] == HEAD
    with pytest.raises(ProofInvalid):
        proof.verify(ENTRIES[3], LOG.key)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tlog-proof@v1", "tlog-proof@v2"),
        ("index 4", "index 04"),
        ("index 4", "index -4"),
        ("index 4\n", ""),
        ("\n\naudit", "\naudit"),
    ],
)
def test_what_is_no_proof_is_refused(old: str, new: str) -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    path = inclusion_proof(4, len(leaves), lambda start, end: root_of(leaves[start:end]))
    text = str(TlogProof(4, path, sign_checkpoint(HEAD, LOG)))

    assert old in text
    with pytest.raises((ProofInvalid, NoteInvalid)):
        TlogProof.parse(text.replace(old, new, 1)).verify(ENTRIES[4], LOG.key)


def test_no_secret_is_printed() -> None:
    assert bytes(range(32)).hex() not in repr(LOG)
    assert "SigningKey" not in repr(LOG)
