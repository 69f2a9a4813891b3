"""How an aggregate is written: a snapshot without its shelves, and each value on them by itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter

from contracts import Message
from domain import shelves_of


@dataclass(frozen=True, slots=True)
class Form:
    """Of one class. The name changes with its fields, and with what is on its shelves: of another form nothing is read."""

    name: str
    adapter: TypeAdapter[Any]
    shelves: Mapping[str, TypeAdapter[Any]]
    named_by: tuple[str, ...]

    def dump(self, aggregate: Any) -> bytes:
        """The snapshot: all but the shelves."""
        return self.adapter.dump_json(aggregate, exclude=set(self.shelves) or None)

    def read(self, state: bytes) -> Any:
        """The aggregate, with empty shelves."""
        return self.adapter.validate_json(state)

    def keys(self, said: Message) -> list[str]:
        """Under which the command or event is looked up on the shelves, as far as its fields tell."""
        return [key for name in self.named_by if isinstance(key := getattr(said, name, None), str)]


_FORMS: dict[type[Any], Form] = {}


def form_of(kind: type[Any]) -> Form:
    """Of the class; made once."""
    if kind not in _FORMS:
        _FORMS[kind] = _made(kind)
    return _FORMS[kind]


def _made(kind: type[Any]) -> Form:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    digest = hashlib.sha256(repr(sorted(adapter.json_schema().items(), key=str)).encode()).hexdigest()
    named_by = shelves_of(kind)
    types = get_type_hints(kind) if named_by else {}
    shelves = {name: TypeAdapter[Any](get_args(types[name])[0]) for name in named_by}
    names = tuple(sorted({field for fields in named_by.values() for field in fields}))
    return Form(f"{kind.__name__}:{digest[:32]}", adapter, shelves, names)
