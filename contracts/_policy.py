"""What every context answers: a parameter is adopted, its new work is halted, the halt is lifted (white paper 12.3, S 03).

Each context says these in its own name, `treasury.AdoptParameter`, without a line in its module. What it lets be adopted
is a class there, `<Context>Parameters`; what a pause refuses, its commands say themselves (`halted_by`).
"""

import importlib
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from contracts._carried import Carried
from contracts._language import Command, Event, Message, Value
from contracts._values import AtomicText, Count, EventId, StreamName, Timestamp

Scope = Literal[
    "minting", "withdrawals", "bridge", "staking", "rewards", "vault", "insurance", "rwa", "gateway", "inference", "all",
]  # fmt: skip
"""What a pause stops; `all` is the new work of every context."""
LONGEST_HALT = timedelta(days=7)
"""A halt must not become a policy."""


class ParameterName(AtomicText):
    """A parameter within its context, `burn_percent`."""

    pattern = r"^[a-z][a-z0-9_]*$"
    max_length = 60


PartName = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
"""One of a parameter's numbers where it has several, `provider`."""
ParameterValue = Count | Annotated[Mapping[PartName, Count], Field(min_length=1, max_length=16)]
"""A number, or the parameter's numbers by their names; the unit is the parameter's."""
ParameterVersion = Annotated[Count, Field(ge=1)]
PolicyVersion = Annotated[Count, Field(ge=2)] | None
"""In a decision's event: by which of its context's policies it was made; None where nothing had been adopted."""


class ParameterSetRecord(Carried, of="governance.ParameterSet"):
    """That governance set the parameter, in the stream `governance/parameter/<context>.<name>`."""


class AdoptParameter(Command, everywhere=True, role="process", stream="policy"):
    """Decide by another value from now on. What is decided already, or open, keeps the one that it began with."""

    name: ParameterName
    value: ParameterValue
    version: ParameterVersion
    """Of this parameter, as governance counts it."""
    cause: ParameterSetRecord | None = None
    """Governance's own record of it, value and version equal."""


class Halt(Command, everywhere=True, role="process", stream="policy"):
    """Refuse new work until then. What is in flight finishes or is refunded."""

    scope: Scope
    until: Timestamp


class Lift(Command, everywhere=True, role="process", stream="policy"):
    """End a halt before its time."""

    scope: Scope | None = None
    """Absent: every halt of the context."""


class ParameterAdopted(Event, everywhere=True, retention="financial"):
    name: ParameterName
    value: ParameterValue
    version: ParameterVersion
    policy_version: Annotated[Count, Field(ge=2)]
    """Of the context's parameters together, as its decisions name it; 1 is what the white paper says."""
    at: Timestamp
    cause: EventId | None = None
    """What governance recorded, where it was carried."""


class Halted(Event, everywhere=True, retention="financial"):
    scope: Scope
    until: Timestamp


class Lifted(Event, everywhere=True, retention="financial"):
    scope: Scope | None = None


PolicyCommand = AdoptParameter | Halt | Lift
PolicyEvent = ParameterAdopted | Halted | Lifted


class Parameters(Value):
    """A context's parameters: a field for each, whose default is the white paper's and whose bounds are its type's.

    The docstring of a field says its unit. What no decision reads is no field.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)
    steps: ClassVar[Mapping[str, int]] = {}
    """Of parameters with several numbers: how far each may move at a time."""

    policy_version: PolicyVersion = None
    """By which of the context's policies these are; None as long as nothing was adopted. It is no parameter."""

    @classmethod
    def bounds(cls, name: str) -> Mapping[str, tuple[int, int]]:
        """Least and greatest, of the number itself under "" and else of each of its parts."""
        schema = cls.model_json_schema(by_alias=False)
        part = schema["properties"][name]
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        parts = part.get("properties") or {"": part}
        return {of: (found["minimum"], found["maximum"]) for of, found in parts.items()}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.model_fields if name != "policy_version")

    def with_value(self, name: str, value: ParameterValue) -> Self:
        """With another value for one. Raises pydantic.ValidationError: out of bounds, alone or beside the others."""
        return self.model_validate({**dict(self), name: value})

    def adopted(self, name: str, value: ParameterValue, policy_version: int) -> Self:
        """As it was decided: bounds of today say nothing about what was within those of then."""
        kind = self.__class__.model_fields[name].annotation
        if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, BaseModel):
            return self.model_copy(update={name: kind.model_construct(None, **value), "policy_version": policy_version})
        return self.model_copy(update={name: value, "policy_version": policy_version})

    def require_steps(self, before: "Parameters") -> None:
        """That it may follow what was in force before. Raises ValueError."""
        for name, most in self.steps.items():
            was, now = getattr(before, name).model_dump(), getattr(self, name).model_dump()
            if any(abs(now[part] - was[part]) > most for part in was):
                raise ValueError(f"each number of {name} moves by at most {most} at a time")


class PolicyId(AtomicText):
    """A context has one policy, and its stream one name."""

    pattern = r"^network$"
    max_length = 7


def policy_stream(context: str) -> StreamName:
    return StreamName(f"{context}/policy/network")


def is_policy_stream(stream: str) -> bool:
    return stream.endswith("/policy/network")


@cache
def id_type(command: type[Command]) -> type[AtomicText]:
    """What the streams are named by that the command addresses: of its context's `STREAM_IDS`. Raises KeyError."""
    module = importlib.import_module(f"contracts.{command.wire.context}")
    kind = command.wire.stream.partition("/")[2]
    found: type[AtomicText] = PolicyId if kind == "policy" else module.STREAM_IDS[kind]
    return found


@cache
def parameters_class(context: str) -> type[Parameters]:
    """What may be adopted there: `<Context>Parameters` of its module, or nothing."""
    module = importlib.import_module(f"contracts.{context}")
    found: type[Parameters] = getattr(module, f"{context.capitalize()}Parameters", Parameters)
    return found


@cache
def is_policy(message: type[Message]) -> bool:
    """Whether every context says it. Asked of every command and event, and a class is asked for faster than its kind."""
    return issubclass(message, PolicyCommand | PolicyEvent)
