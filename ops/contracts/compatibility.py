"""May a schema take the place of a stored one of the same version? Whatever the old one allowed must still be allowed.

It knows the keywords that our language generates. Where it cannot tell whether a change widens, it says that it breaks.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

Schema = dict[str, Any]

_SAYS_NOTHING = frozenset({"$schema", "$id", "$defs", "$ref", "title", "description", "default", "examples", "x-kind"})
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_COMPARED = frozenset({"type", "enum", "const", "properties", "required", "items", "prefixItems", "anyOf", "oneOf", "x-roles"})


def breaks(stored: Schema, now: Schema, *, is_event: bool) -> Iterator[str]:
    """A line for every promise that `now` does not keep: the place and what became of it.

    An event is also read by those who know only the stored schema, so what was always there stays always there.
    """
    return _Comparison(stored, now, is_event).compare(stored, now, "data")


class _Comparison:
    def __init__(self, stored: Schema, now: Schema, is_event: bool) -> None:
        self._stored, self._now, self._is_event = stored.get("$defs", {}), now.get("$defs", {}), is_event

    def compare(self, stored: Schema, now: Schema, at: str) -> Iterator[str]:
        stored, now = _resolved(stored, self._stored), _resolved(now, self._now)
        if "anyOf" in stored or "anyOf" in now or "oneOf" in stored or "oneOf" in now:
            yield from self._alternatives(stored, now, at)
            return
        yield from _types(stored, now, at)
        yield from _values(stored, now, at)
        yield from _bounds(stored, now, at)
        yield from self._fields(stored, now, at)
        yield from self._items(stored, now, at)
        yield from _roles(stored, now, at)
        known = _SAYS_NOTHING | _COMPARED | {*_UPPER, *_LOWER}
        for keyword in sorted((stored.keys() | now.keys()) - known):
            if stored.get(keyword) != now.get(keyword):
                yield f"{at}: {keyword} was {stored.get(keyword)!r}, is {now.get(keyword)!r}"

    def _alternatives(self, stored: Schema, now: Schema, at: str) -> Iterator[str]:
        old, new = _choices(stored, self._stored), _choices(now, self._now)
        fits = {(n, m): not list(self.compare(old[n], new[m], at)) for n, m in product(range(len(old)), range(len(new)))}
        for n, choice in enumerate(old):
            if not any(fits[n, m] for m in range(len(new))):
                lines = list(self.compare(choice, new[n], at)) if len(old) == len(new) else []
                yield from lines or [f"{at}: one alternative is gone or narrower ({choice.get('type', choice)})"]

    def _fields(self, stored: Schema, now: Schema, at: str) -> Iterator[str]:
        old, new = stored.get("properties", {}), now.get("properties", {})
        was_required, is_required = set(stored.get("required", ())), set(now.get("required", ()))
        for name in sorted(old.keys() - new.keys()):
            yield f"{at}.{name}: the field is gone"
        for name in sorted(is_required - was_required):
            yield f"{at}.{name}: the field became required" if name in old else f"{at}.{name}: a new field is required"
        if self._is_event:
            for name in sorted((was_required - is_required) & new.keys()):
                yield f"{at}.{name}: the field was always there and became optional"
        for name in sorted(old.keys() & new.keys()):
            yield from self.compare(old[name], new[name], f"{at}.{name}")

    def _items(self, stored: Schema, now: Schema, at: str) -> Iterator[str]:
        if "items" in stored and "items" in now:
            yield from self.compare(stored["items"], now["items"], f"{at}[]")
        elif stored.get("items") != now.get("items"):
            yield f"{at}: what its items are was {stored.get('items')!r}, is {now.get('items')!r}"
        old, new = stored.get("prefixItems", []), now.get("prefixItems", [])
        if len(old) != len(new):
            yield f"{at}: had {len(old)} places, has {len(new)}"
        for n, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from self.compare(before, after, f"{at}[{n}]")


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    while "$ref" in schema:
        beside = {key: item for key, item in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **beside}
    return schema


def _choices(schema: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    """Its alternatives; a schema without any is its own only one."""
    found = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return [_resolved(choice, definitions) for choice in found]


def _types(stored: Schema, now: Schema, at: str) -> Iterator[str]:
    old, new = (_as_set(schema.get("type")) for schema in (stored, now))
    # No type at all allows every type.
    if new and (not old or not old <= new | ({"integer"} if "number" in new else set())):
        yield f"{at}: the type was {_said(old)}, is {_said(new)}"


def _values(stored: Schema, now: Schema, at: str) -> Iterator[str]:
    old, new = _allowed(stored), _allowed(now)
    if new is None:
        return
    if old is None:
        yield f"{at}: only {_said(new)} is left"
    elif gone := old - new:
        yield f"{at}: {_said(gone)} is gone"


def _bounds(stored: Schema, now: Schema, at: str) -> Iterator[str]:
    for keywords, sign in ((_UPPER, 1), (_LOWER, -1)):
        for keyword in keywords:
            old, new = stored.get(keyword), now.get(keyword)
            if new is not None and (old is None or sign * new < sign * old):
                yield f"{at}: {keyword} was {old}, is {new}"


def _roles(stored: Schema, now: Schema, at: str) -> Iterator[str]:
    if gone := set(stored.get("x-roles", ())) - set(now.get("x-roles", ())):
        yield f"{at}: {_said(gone)} may no longer send it"


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {repr(schema["const"])}
    return {repr(value) for value in schema["enum"]} if "enum" in schema else None


def _as_set(value: str | list[str] | None) -> set[str]:
    return set() if value is None else {value} if isinstance(value, str) else set(value)


def _said(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "anything"
