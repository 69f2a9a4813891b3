"""What a message is, and how a type's name on the wire becomes a class.

A context's language is two unions in its module, `<Context>Command` and `<Context>Event`; they are the registry, so a
class that nobody put into a union does not exist for the wire. To them comes what every context says, in its own name.
"""

import importlib
import pkgutil
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict

import contracts
from contracts._values import FROM_THE_WIRE

if TYPE_CHECKING:
    from contracts._money import Leg


class UnknownType(LookupError):
    """No context's language has a message of this name."""


class UnknownVersion(LookupError):
    """The message is of a version that this code is too old to read. It is never guessed."""


class Value(BaseModel):
    """A part of a message: immutable, and without any field that its class does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid", revalidate_instances="never")

    def json_bytes(self) -> bytes:
        """Compact JSON; an absent optional field is left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Wire:
    """How a class of messages stands on the wire. Apart from the fields, so that a field may have any name."""

    type: str
    """`<context>.<Class>`, the record's `type`."""
    context: str
    version: int
    """The last part of `dataschema`. An optional field needs no new version; a changed meaning does."""
    dataschema: str
    roles: tuple[str, ...] = ()
    """Of a command: its signer's key must be registered for one of them."""
    stream: str = ""
    """Of a command: the beginning of the subject, `providers/offer`; the stream's id follows after a slash."""
    halted_by: str = ""
    """Of a command that begins something new: the scope of the pause that refuses it, or its context's name."""
    upcasters: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    """Of an event: version n to the function that makes version n + 1 of its data."""
    retention: str = "none"
    """Of an event: the class that says how long it must stay readable (audit's RETENTION_DAYS)."""


_EVERYWHERE: "list[type[Message]]" = []
"""What every context says: of each of these it has a class of its own."""


class Message(Value):
    """A command or an event: the `data` of a record."""

    wire: ClassVar[Wire]

    def __init_subclass__(cls, *, version: int = 1, everywhere: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if everywhere:
            _EVERYWHERE.append(cls)
        context = cls.__module__.rpartition(".")[2]
        name = f"{context}.{cls.__name__}"
        cls.wire = Wire(name, context, version, f"urn:spaceos:{name}:{version}")

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From a record's `data`, as a stranger wrote it. Raises pydantic.ValidationError."""
        return cls.__pydantic_validator__.validate_python(data, context=FROM_THE_WIRE)  # type: ignore[no-any-return]


class Command(Message):
    """A wish. `role` is what its signer's key must be registered for (alternatives allowed); `stream` what it may address.

    `halted_by` names the pause that refuses it. Nothing that finishes what was begun has one.
    """

    def __init_subclass__(
        cls, *, role: str | tuple[str, ...] = (), stream: str = "", halted_by: str = "", **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        roles = (role,) if isinstance(role, str) else role
        cls.wire = replace(cls.wire, roles=roles, stream=stream, halted_by=halted_by)


class Event(Message):
    """A fact. Version n + 1 reads version n through a static method `upcast_n(data) -> data`, a pure function."""

    def legs(self, stream: str) -> "Iterable[Leg]":
        """What it posts to the ledger: per asset the legs sum to zero. A pure function of the fields and the stream's name."""
        del stream
        return ()

    def __init_subclass__(cls, *, retention: str = "none", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.wire = replace(cls.wire, retention=retention)
        steps = {n: getattr(cls, f"upcast_{n}", None) for n in range(1, cls.wire.version)}
        if missing := [n for n, step in steps.items() if step is None]:
            raise TypeError(f"{cls.wire.type} is of version {cls.wire.version} but cannot upcast version {missing[0]}")
        cls.wire = replace(cls.wire, upcasters={n: step for n, step in steps.items() if step is not None})


def moves_value(cls: type[Message]) -> bool:
    """Whether the class is an event with a posting rule of its own."""
    return issubclass(cls, Event) and cls.legs is not Event.legs


@cache
def contexts() -> tuple[str, ...]:
    """The contexts of this deployment: the public modules of `contracts`."""
    found = (module.name for module in pkgutil.iter_modules(contracts.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_") and name not in {"schemas", "vectors"}))


@cache
def _language(context: str) -> Mapping[str, type[Message]]:
    if context not in contexts():
        return {}
    module = importlib.import_module(f"contracts.{context}")
    unions = (getattr(module, f"{context.capitalize()}{kind}", None) for kind in ("Command", "Event"))
    classes = [cls for union in unions if union is not None for cls in (get_args(union) or (union,))]
    return {cls.wire.type: cls for cls in [*classes, *(_said_by(context, cls) for cls in _EVERYWHERE)]}


def _said_by(context: str, shared: type[Message]) -> type[Message]:
    """The context's own class of what every context says; its role and its stream are the context's."""
    wire, named = shared.wire, {"__module__": f"contracts.{context}", "__doc__": shared.__doc__}
    keywords: dict[str, Any] = {"version": wire.version}
    if issubclass(shared, Event):
        keywords["retention"] = wire.retention
    else:
        keywords |= {"role": tuple(f"{context}.{role}" for role in wire.roles), "stream": f"{context}/{wire.stream}"}
    own: type[Message] = types.new_class(shared.__name__, (shared,), keywords, lambda body: body.update(named))
    return own


M = TypeVar("M", bound=Message)


def own_class(shared: type[M], context: str) -> type[M]:
    """What the context says instead of a message of every context. Raises UnknownType."""
    return cast("type[M]", _named(f"{context}.{shared.__name__}"))


def languages() -> Iterator[type[Message]]:
    """Every message of every context."""
    for context in contexts():
        yield from _language(context).values()


@lru_cache(maxsize=4096)
def _named(name: str) -> type[Message]:
    found = _language(name.partition(".")[0]).get(name)
    if found is None:
        raise UnknownType(f"no context says {name[:80]!r}")
    return found


def command_class(name: str) -> type[Command]:
    """The command of that name. Raises UnknownType."""
    found = _named(name)
    if not issubclass(found, Command):
        raise UnknownType(f"{name[:80]!r} is not a command")
    return found


def event_class(name: str) -> type[Event]:
    """The event of that name. Raises UnknownType."""
    found = _named(name)
    if not issubclass(found, Event):
        raise UnknownType(f"{name[:80]!r} is not an event")
    return found


@lru_cache(maxsize=4096)
def _event_schema(urn: str) -> tuple[type[Event], int]:
    name, _, version = urn.removeprefix("urn:spaceos:").rpartition(":")
    return event_class(name), int(version)


def read_event(document: Mapping[str, Any]) -> Event:
    """The event in a record's document, upcast to the newest version. Raises UnknownType, UnknownVersion, ValidationError."""
    cls, version = _event_schema(document["dataschema"])
    data = document["data"]
    if version != cls.wire.version:
        if version > cls.wire.version:
            raise UnknownVersion(f"{cls.wire.type} is known up to version {cls.wire.version}, this is {version}")
        for step in range(version, cls.wire.version):
            data = cls.wire.upcasters[step](dict(data))
    return cls.__pydantic_validator__.validate_python(data)  # type: ignore[no-any-return]
