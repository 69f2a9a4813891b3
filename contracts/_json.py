"""JSON from strangers: parsed so that no library turns it into something that was not said."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Never

import orjson

MAX_DEPTH = 16
"""The language nests four deep; more than this is an attack on the parser, not a message."""


class BadDocument(ValueError):
    """The bytes are not a JSON object that this protocol allows. `rule` says which rule they break."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def parse_strictly(value: bytes) -> dict[str, Any]:
    """One JSON object, UTF-8, with no floats, constants, duplicate keys, non-ASCII keys, lone surrogates or NULs (I-JSON).

    A document that orjson writes back byte for byte cannot have had a duplicate key, an integer beyond 64 bits or an
    escape that changed: that is the fast path (5 µs for 1 kB), and whatever our own clients send takes it. Anything else
    is read again by the standard library with a hook for each rule (14 µs).
    """
    try:
        document = orjson.loads(value)
        is_as_written = orjson.dumps(document) == value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # It reads 1,024 levels and writes 254.
        return _read_carefully(value)
    if not is_as_written or b"\\u0000" in value:
        return _read_carefully(value)
    if type(document) is not dict:
        raise BadDocument("the document is a JSON object")
    if value.isascii():
        _inspect_numbers(document, 1)
    else:
        _inspect(document, 1)
    return document


def _inspect_numbers(node: dict[str, Any] | list[Any], depth: int) -> None:
    """What is left to check of ASCII bytes that orjson writes back as they were: numbers and depth."""
    if depth > MAX_DEPTH:
        raise BadDocument(f"at most {MAX_DEPTH} levels of nesting")
    items: Iterable[Any] = node.values() if isinstance(node, dict) else node
    for item in items:
        kind = type(item)
        if kind is str:
            continue
        if kind is dict or kind is list:
            _inspect_numbers(item, depth + 1)
        elif kind is float:
            _refuse_float(str(item))
        elif kind is int and not -(2**53) <= item <= 2**53:
            raise BadDocument("an integer beyond 2^53 is written as a decimal string")


def _read_carefully(value: bytes) -> dict[str, Any]:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadDocument(f"the document is UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        document = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_float=_refuse_float,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
        )
    except RecursionError:
        raise BadDocument(f"at most {MAX_DEPTH} levels of nesting") from None
    except json.JSONDecodeError as error:
        raise BadDocument(f"the document is JSON ({error.msg} at character {error.pos})") from None
    if type(document) is not dict:
        raise BadDocument("the document is a JSON object")
    _inspect(document, 1)
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise BadDocument(f"no key occurs twice ({twice[:40]!a})")
    return found


def _refuse_float(text: str) -> Never:
    raise BadDocument(f"no floats: integers, and decimal strings for money ({text[:40]})")


def _refuse_constant(text: str) -> Never:
    raise BadDocument(f"{text} is not JSON")


def _bounded_integer(text: str) -> int:
    # Python refuses to read more than 4,300 digits; the protocol's limit is far below.
    number = int(text) if len(text) <= 20 else 2**64
    if abs(number) > 2**53:
        raise BadDocument("an integer beyond 2^53 is written as a decimal string")
    return number


# The tests for surrogates are regular expressions because an `encode` of every string costs more than the parse.
_SURROGATE = re.compile("[\ud800-\udfff]")


def _inspect(node: Any, depth: int) -> None:
    kind = type(node)
    if kind is str:
        if not node.isascii() and _SURROGATE.search(node):
            raise BadDocument("no lone surrogate in a string")
        if "\0" in node:
            # PostgreSQL has no text with a NUL, so what SQLite took would stop a worker there.
            raise BadDocument("no NUL in a string")
    elif kind is dict:
        if depth > MAX_DEPTH:
            raise BadDocument(f"at most {MAX_DEPTH} levels of nesting")
        for key, item in node.items():
            if not key.isascii():
                raise BadDocument("keys are ASCII")
            if "\0" in key:
                raise BadDocument("no NUL in a string")
            _inspect(item, depth + 1)
    elif kind is list:
        if depth > MAX_DEPTH:
            raise BadDocument(f"at most {MAX_DEPTH} levels of nesting")
        for item in node:
            _inspect(item, depth + 1)
    elif kind is float:
        _refuse_float(str(node))
    elif kind is int and not -(2**53) <= node <= 2**53:
        raise BadDocument("an integer beyond 2^53 is written as a decimal string")
