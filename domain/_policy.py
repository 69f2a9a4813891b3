"""What a context was told to decide by, and what it was told to stop. One stream a context, the same rules in each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TypeVar, assert_never

from pydantic import ValidationError

from contracts import (
    LONGEST_HALT,
    AdoptParameter,
    Command,
    EventId,
    Halt,
    Halted,
    Lift,
    Lifted,
    ParameterAdopted,
    Parameters,
    ParameterValue,
    PolicyEvent,
    languages,
    own_class,
    parameters_class,
    policy_stream,
    rfc3339,
)
from domain import Aggregate, Refused

P = TypeVar("P", bound=Parameters)


class NotThePolicy(Refused):
    """A context has one policy, in the stream `<context>/policy/network`."""


class NotMutable(Refused):
    """The context has no parameter of that name."""


class OutOfBounds(Refused):
    """The value is outside what the parameter may be, alone or beside the others, or too far from what it is."""


class OlderVersion(Refused):
    """A version of the parameter that is as new was adopted, with another value, or a newer one."""


class CauseDiffers(Refused):
    """What is carried as the cause is no record of this network, or says something else."""


class NotInScope(Refused):
    """Nothing that the context begins is stopped by that pause."""


class HaltTooLong(Refused):
    """A halt ends within seven days: it must not become a policy."""


class AlreadyOver(Refused):
    """The halt would have ended before it began."""


class NewWorkHalted(Refused):
    """Nothing new is begun here for now; what is in flight finishes or is refunded."""


@dataclass
class Adopted:
    """A value, and since when decisions are made by it."""

    name: str
    value: ParameterValue
    version: int
    at: datetime


@dataclass
class Policy(Aggregate[PolicyEvent]):
    """A context's parameters and halts."""

    adopted: list[Adopted] = field(default_factory=list)
    """In their order: the first makes policy 2."""
    halts: dict[str, datetime] = field(default_factory=dict)
    """Scope to its end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # No field: what follows from the state is no part of a snapshot.
        self._in_force: dict[int, Parameters] = {}
        self._ever: dict[str, tuple[int, list[int]]] = {}

    @property
    def context(self) -> str:
        return self.stream.partition("/")[0]

    def parameters(self, kind: type[P]) -> P:
        """What decisions are made by now."""
        return self._until(kind, len(self.adopted))

    def parameters_at(self, kind: type[P], moment: datetime) -> P:
        """What they were made by then."""
        return self._until(kind, sum(adopted.at <= moment for adopted in self.adopted))

    def ever(self, name: str) -> list[int]:
        """What was ever adopted for a parameter that is one number, in order."""
        count, values = self._ever.get(name, (-1, []))
        if count != len(self.adopted):
            values = [adopted.value for adopted in self.adopted if adopted.name == name and isinstance(adopted.value, int)]
            self._ever[name] = (len(self.adopted), values)
        return values

    def adopt(self, command: AdoptParameter, now: datetime, cause: EventId | None = None) -> None:
        """`cause` is the carried record's id. Raises NotThePolicy, NotMutable, OlderVersion, OutOfBounds."""
        self._require_name()
        kind = parameters_class(self.context)
        if command.name not in kind.names():
            known = ", ".join(kind.names()) or "none"
            raise NotMutable(f"{command.name} is no parameter of {self.context}; there are: {known}", "name")
        newest = next((adopted for adopted in reversed(self.adopted) if adopted.name == command.name), None)
        if newest is not None and command.version <= newest.version:
            if (newest.version, newest.value) != (command.version, command.value):
                raise OlderVersion(f"version {newest.version} is in force", "version")
            return
        _require_bounds(self.parameters(kind), command)
        adopted = own_class(ParameterAdopted, self.context)
        said = {**dict(command), "cause": cause}
        self.record(adopted(**said, policy_version=len(self.adopted) + 2, at=now))

    def halt(self, command: Halt, now: datetime) -> None:
        """Raises NotThePolicy, NotInScope, AlreadyOver, HaltTooLong."""
        self._require_name()
        if command.scope not in (known := scopes(self.context)):
            raise NotInScope(f"{self.context} is halted by {' or '.join(known)}", "scope")
        if self.halts.get(command.scope) == command.until:
            return
        if command.until <= now:
            raise AlreadyOver(field="until")
        if command.until > now + LONGEST_HALT:
            raise HaltTooLong(field="until")
        self.record(own_class(Halted, self.context)(scope=command.scope, until=command.until))

    def lift(self, command: Lift) -> None:
        """Raises NotThePolicy."""
        self._require_name()
        if self.halts if command.scope is None else command.scope in self.halts:
            self.record(own_class(Lifted, self.context)(scope=command.scope))

    def require_running(self, command: type[Command], now: datetime) -> None:
        """That what the command begins may begin; at the end of a halt it may. Raises `<Scope>Halted`."""
        if not self.halts:
            return
        halted_by = command.wire.halted_by
        ends = [self.halts[scope] for scope in (halted_by, "all") if scope in self.halts] if halted_by else []
        if ends and now < max(ends):
            raise halted(halted_by)(f"nothing new is begun until {rfc3339(max(ends))}, or until the halt is lifted")

    def apply(self, event: PolicyEvent) -> None:
        match event:
            case ParameterAdopted(name=name, value=value, version=version, at=at):
                self.adopted.append(Adopted(name, value, version, at))
            case Halted(scope=scope, until=until):
                self.halts[scope] = until
            case Lifted(scope=scope):
                self.halts = {} if scope is None else {name: end for name, end in self.halts.items() if name != scope}
            case _:
                assert_never(event)

    def _until(self, kind: type[P], count: int) -> P:
        found = self._in_force.get(count)
        if not isinstance(found, kind):
            found = self._in_force[count] = kind() if not count else self._next(kind, count)
        return found

    def _next(self, kind: type[P], count: int) -> P:
        newest = self.adopted[count - 1]
        return self._until(kind, count - 1).adopted(newest.name, newest.value, count + 1)

    def _require_name(self) -> None:
        if self.stream != policy_stream(self.context):
            raise NotThePolicy(field="subject")


@cache
def scopes(context: str) -> tuple[str, ...]:
    """The pauses that stop something here."""
    begun = {cls.wire.halted_by for cls in languages() if cls.wire.context == context and cls.wire.halted_by}
    return (*sorted(begun - {context}), *([context] if context in begun else []), "all")


@cache
def halted(scope: str) -> Callable[[str], Refused]:
    """The refusal of what the pause stops: `MintingHalted`, `IdentityHalted`."""
    return type(f"{scope.capitalize()}Halted", (NewWorkHalted,), {"__doc__": NewWorkHalted.__doc__})


def _require_bounds(before: Parameters, command: AdoptParameter) -> None:
    try:
        before.with_value(command.name, command.value).require_steps(before)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, found['loc'])) or command.name}: {found['msg']}" for found in error.errors())
        raise OutOfBounds(said, "value") from None
    except ValueError as error:
        raise OutOfBounds(str(error), "value") from None
