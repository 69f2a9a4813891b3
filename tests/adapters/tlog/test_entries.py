"""Leaves: their bytes, and an order that follows from the records alone."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tlog.entries import Cut, EntryInvalid, RecordEntry, Seal, Timed, merged, read_entry, record_entry
from contracts import MAX_RECORD_BYTES

HEAD = "0" * 63 + "1"
SEAL = Seal(3, 17, (Cut("a.events/0", 2, 9, HEAD), Cut("b.events/1", 0, 1, HEAD)))
ED25519 = "ed25519:" + "A" * 86
WALLET = "eip191:0x" + "a" * 130


def test_a_record_is_its_signature_and_its_value_byte_for_byte() -> None:
    entry = record_entry(ED25519, b'{"id":"x"}\n')

    assert entry == b"record/1\n" + ED25519.encode() + b'\n{"id":"x"}\n'
    assert read_entry(entry) == RecordEntry(ED25519, b'{"id":"x"}\n')


@pytest.mark.parametrize(("signature", "length"), [(ED25519, 60_104), (WALLET, 60_149)])
def test_the_longest_record_is_an_entry(signature: str, length: int) -> None:
    assert len(record_entry(signature, bytes(MAX_RECORD_BYTES))) == length


def test_a_seal_is_ascii_json_with_sorted_keys() -> None:
    assert SEAL.encode() == (
        b'seal/1\n{"batch":3,"cut":[["a.events/0",2,9,"' + HEAD.encode() + b'"],["b.events/1",0,1,"' + HEAD.encode()
        + b'"]],"first":17,"rule":"kmerge/1"}'
    )  # fmt: skip
    assert read_entry(SEAL.encode()) == SEAL


def test_five_hundred_shards_fit_and_one_more_does_not() -> None:
    cuts = tuple(Cut(f"governance.events/{n:03d}", 10**15, 10**15 + 1000, HEAD) for n in range(501))

    assert len(Seal(10**9, 10**12, cuts[:500]).encode()) <= 65_535
    with pytest.raises(ValueError, match="at most"):
        Seal(10**9, 10**12, cuts).encode()


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"record/1\n",
        b"record/2\nx\n{}",
        b"record/1\n\xff\n{}",
        b"seal/1\n{}",
        b"seal/1\n[]",
        SEAL.encode() + b" ",
        SEAL.encode().replace(b"kmerge/1", b"kmerge/2"),
        SEAL.encode().replace(b'"batch":3,', b"").replace(b'"first"', b'"batch":3,"first"'),
    ],
)
def test_other_bytes_are_no_entry(entry: bytes) -> None:
    with pytest.raises(EntryInvalid):
        read_entry(entry)


def shards() -> st.SearchStrategy[dict[str, list[Timed]]]:
    """Clocks that leap, stand still and go back."""
    times = st.lists(st.integers(0, 20).map(lambda n: f"2026-01-01T00:00:{n:02d}.000000Z"), max_size=8)
    names = st.sampled_from(["a.events/0", "a.events/1", "b.events/0"])
    return st.dictionaries(names, times).map(
        lambda found: {
            name: [Timed(time, n, f"{name} {n}".encode()) for n, time in enumerate(times)] for name, times in found.items()
        }
    )


@given(shards(), st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_rule_whichever_shard_was_seen_first(
    found: dict[str, list[Timed]], chance: random.Random
) -> None:
    turned = list(found.items())
    chance.shuffle(turned)

    order = [record.entry for record in merged(found)]

    assert [record.entry for record in merged(dict(turned))] == order
    assert order == naive(found)
    for name, records in found.items():
        assert [entry for entry in order if entry.startswith(name.encode() + b" ")] == [record.entry for record in records]


def naive(found: dict[str, list[Timed]]) -> list[bytes]:
    keyed = []
    for name, records in found.items():
        latest = ""
        for record in records:
            latest = max(latest, record.time)
            keyed.append((latest, name, record.sequence, record.entry))
    return [entry for *_, entry in sorted(keyed)]


def test_a_clock_that_leaps_does_not_reorder_its_shard() -> None:
    leaping = [Timed(time, n, b"%d" % n) for n, time in enumerate(["2030", "2026", "2027"])]

    found = [record.sequence for record in merged({"a": leaping})]

    assert all(a < b for a, b in pairwise(found))
