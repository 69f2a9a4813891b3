"""Bytes of strangers: what is read is what was said, and the fast path is no other reader than the careful one."""

import json
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts import BadDocument, parse_strictly
from contracts._json import MAX_DEPTH, _read_carefully, _without_duplicates

numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-(2**65), max_value=2**65),
    st.sampled_from([2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63, 2**64, 0]),
    st.floats(),
)
texts = st.one_of(
    st.text(max_size=20), st.text(st.characters(codec=None), max_size=6), st.sampled_from(["\0", "\ud800", "é", "\x7f"])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
documents = st.one_of(values, st.dictionaries(st.text("abc", max_size=3), values, max_size=4))


def written(value: Any, style: int) -> bytes:
    """The value as JSON, in one of the many ways in which a client may write it."""
    options: list[dict[str, Any]] = [
        {"ensure_ascii": False, "separators": (",", ":")},
        {"ensure_ascii": True, "separators": (",", ":")},
        {"ensure_ascii": False},
        {"ensure_ascii": True, "indent": 1},
    ]
    return json.dumps(value, **options[style]).encode("utf-8", "surrogatepass")


def told(value: bytes, reader: Any) -> str:
    """What a reader makes of it, as text, so that 1, 1.0 and True differ; or that it refuses."""
    try:
        return repr(reader(value))
    except BadDocument:
        return "refused"


@given(documents, st.integers(0, 3))
@example({"a": [[[[]]]]}, 0)
def test_the_fast_path_reads_what_the_careful_path_reads(value: Any, style: int) -> None:
    """One of the two would otherwise be a way around the other's rules."""
    text = written(value, style)

    assert told(text, parse_strictly) == told(text, _read_carefully)


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_arbitrary_bytes_are_read_alike_or_refused_alike(value: bytes) -> None:
    assert told(value, parse_strictly) == told(value, _read_carefully)


@given(documents, st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_a_damaged_document_is_read_alike_or_refused_alike(value: Any, style: int, chance: random.Random) -> None:
    text = bytearray(written(value, style))
    for _ in range(chance.randint(1, 3)):
        text[chance.randrange(len(text))] = chance.choice(b'{}[]",:\\0123456789.eE-tfnu \xff\xc3')

    assert told(bytes(text), parse_strictly) == told(bytes(text), _read_carefully)


@given(documents, st.integers(0, 3))
def test_what_is_read_is_what_was_said(value: Any, style: int) -> None:
    """The standard library's plain reader is the witness."""
    text = written(value, style)

    try:
        read = parse_strictly(text)
    except BadDocument:
        return

    assert repr(read) == repr(json.loads(text))


REFUSED = {
    b'{"a":1.0}': "no floats",
    b'{"a":1e2}': "no floats",
    b'{"a":-0.0}': "no floats",
    b'{"a":NaN}': "is not JSON",
    b'{"a":-Infinity}': "is not JSON",
    b'{"a":9007199254740993}': "2^53",
    b'{"a":18446744073709551616}': "2^53",
    b'{"a":1,"a":1}': "occurs twice",
    b'{"a":1,"\\u0061":1}': "occurs twice",
    b'{"x":{"a":1,"b":2,"a":1}}': "occurs twice",
    b'{"a":"\\ud800"}': "surrogate",
    b'{"a":"\\udc00\\ud800"}': "surrogate",
    '{"é":1}'.encode(): "ASCII",
    b'{"a":"\\u0000"}': "NUL",
    b'{"\\u0000":1}': "NUL",
    b"\xef\xbb\xbf{}": "JSON",
    b'{"a":"\xff"}': "UTF-8",
    b'{"a":"\xed\xa0\x80"}': "UTF-8",
    b"[]": "object",
    b'"a"': "object",
    b"null": "object",
    b"": "JSON",
    b"{}{}": "JSON",
    b"{'a':1}": "JSON",
    b'{"a":1,}': "JSON",
    b'{"a":01}': "JSON",
}


@pytest.mark.parametrize(("value", "rule"), REFUSED.items(), ids=lambda part: repr(part)[:40])
def test_what_breaks_a_rule_is_refused_with_the_rule(value: bytes, rule: str) -> None:
    with pytest.raises(BadDocument, match=rule.replace("^", r"\^")):
        parse_strictly(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"{}", {}),
        (b'{"a":9007199254740992}', {"a": 2**53}),
        (b'{"a":-9007199254740992}', {"a": -(2**53)}),
        ('{"a":"é😀"}'.encode(), {"a": "é😀"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),
        (b' { "a" : [ true , null ] } ', {"a": [True, None]}),
    ],
)
def test_what_keeps_the_rules_is_read(value: bytes, expected: object) -> None:
    assert parse_strictly(value) == expected


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 255, 1_020, 20_000])
def test_too_many_levels_are_refused_however_many_they_are(opening: str, depth: int) -> None:
    """orjson reads 1,024 levels and writes 254, Python's reader has a limit of its own: none of them may show."""
    closing = "]" if opening == "[" else "}"
    value = f'{{"a":{opening * depth}1{closing * depth}}}'.encode()

    with pytest.raises(BadDocument, match="16 levels"):
        parse_strictly(value)


def test_sixteen_levels_are_read() -> None:
    value = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"

    assert "a" in parse_strictly(value)


class _Counted(str):
    """A key that counts how often it is looked at."""

    looks = 0

    def __eq__(self, other: object) -> bool:
        _Counted.looks += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        _Counted.looks += 1
        return str.__hash__(self)


def test_a_duplicate_among_thousands_of_keys_is_found_by_looking_at_each_a_few_times() -> None:
    """60,000 bytes that took a second would be a way to stop a worker, and comparing each with each took a second."""
    names = [*(f"{n:x}" for n in range(6_500)), "zz", "zz"]
    _Counted.looks = 0

    with pytest.raises(BadDocument, match="zz"):
        _without_duplicates([(_Counted(name), 0) for name in names])
    with pytest.raises(BadDocument, match="zz"):
        parse_strictly(("{" + ",".join(f'"{name}":0' for name in names) + "}").encode())

    assert 0 < _Counted.looks <= 5 * len(names)
