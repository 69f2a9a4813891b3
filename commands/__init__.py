"""What each context can be asked to do: load, ask, append.

A module here is a context: one Service. What they share is this file: every context adopts parameters, halts and goes on
again, and what a halt forbids is refused before the context is asked. A service appends to the stream that the command
addresses and to no other; to decide it may read other streams of its own context, and the worker checks in the
transaction that what was read is still so.
"""

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar, assert_never, cast

from commands._authority import AuthorityChange, AuthorityTable, Grant, Limit, Withdrawal, changed, was_given_by
from commands._carried import NOT_RECORDED, Stands, opened
from contracts import (
    AdoptParameter,
    BadRecord,
    Carried,
    Command,
    CommandRecord,
    Event,
    EventId,
    Halt,
    Lift,
    PolicyCommand,
    Record,
    contexts,
    is_policy,
    policy_stream,
    recorded_by,
)
from domain import Aggregate, Refused, StreamAdvanced
from domain._policy import CauseDiffers, Policy
from domain.identity.authority import Authority, covers

__all__ = [
    "NOT_RECORDED", "Asked", "AuthorityChange", "AuthorityTable", "Grant", "Limit", "Service", "Stands", "Streams", "Verify",
    "Withdrawal", "changed", "service_class", "services", "was_given_by",
]  # fmt: skip

A = TypeVar("A", bound=Aggregate[Any])


class Streams(Protocol):
    """Where aggregates come from: the worker's cache, then the store."""

    def load(self, kind: type[A], stream: str) -> A:
        """The stream's aggregate as of now; version 0 when nothing was ever appended."""
        ...


class Undeclared(RuntimeError):
    """A decision recorded an event that `contracts/_recorded.py` does not say of its command: no verifier would believe it."""


Verify = Callable[[str, bytes, str], bool]
"""`(did, value, signature) -> bool`: whether the key of that DID signed the value, as a record is signed."""


@dataclass(slots=True)
class Asked:
    """What a service knows besides the command itself."""

    record: CommandRecord
    now: datetime
    """The store's clock at the decision."""
    person: str = ""
    """Who holds the signer's key: the first key of its chain of rotations. Two keys of one person are not two persons."""
    table: Authority | None = None
    """Where it is asked who may act."""
    stands: Stands | None = None
    """Where it is asked whether another context recorded what the command carries."""

    def __post_init__(self) -> None:
        self.person = self.person or self.record.source

    @property
    def authority(self) -> Authority:
        """Raises LookupError: nothing is decided about keys by who does not know them."""
        if self.table is None:
            raise LookupError("this decision was given no authority table")
        return self.table

    def may(self, key: str, role: str, stream: str) -> bool:
        """Whether a key has the role for the stream now; it need not have signed anything here. The decision relies on it."""
        known = self.table.of(key) if self.table is not None else None
        return known is not None and any(covers(grant.prefix, stream) for grant in known.in_force(role, self.now))

    @property
    def stream(self) -> str:
        return self.record.subject

    @property
    def stream_id(self) -> str:
        """What follows `<context>/<kind>/` in the stream's name."""
        return self.record.subject.split("/", 2)[-1]

    @property
    def actor(self) -> str:
        """The DID that signed the command."""
        return self.record.source


class Service:
    """A context's door. `handle` is a match over the context's commands; it returns, or lets Refused pass."""

    context: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.context = cls.__module__.rpartition(".")[2]

    def __init__(self, streams: Streams, verify: Verify) -> None:
        self._streams = streams
        self.verify = verify
        self.asked: Asked
        self._policy_stream = policy_stream(self.context)
        self.addressed: Aggregate[Any] | None = None
        self._pending = 0
        """How much of what it has recorded is of an earlier command."""

    @property
    def policy(self) -> Policy:
        """What the context was told to decide by, and what it was told to stop."""
        return self.read(Policy, self._policy_stream)

    @abstractmethod
    def handle(self, command: Any) -> None:
        """Load, ask, append. Raises a Refused."""

    def load(self, kind: type[A]) -> A:
        """The aggregate that the command addresses; what it records is appended."""
        found = self._streams.load(kind, self.asked.stream)
        expected = self.asked.record.streamversion
        if expected is not None and expected != found.version:
            raise StreamAdvanced(f"the stream is at version {found.version}, {expected} was expected", "streamversion")
        if self.addressed is not found:
            self.addressed, self._pending = found, len(found.pending)
        return found

    def read(self, kind: type[A], stream: str) -> A:
        """Another aggregate of this context, to look at only."""
        return self._streams.load(kind, stream)

    def carried(self, carried: Carried, field: str, refusal: type[Refused]) -> Record:
        """The record in the command's field, verified: amounts, recipients and references are taken from it.

        Raises the refusal where it is not what another context recorded here. That it serves this stream, and once, is for
        the rule to say.
        """
        if self.asked.stands is None:
            raise LookupError("this decision was given no store to look for what is carried")
        try:
            return opened(carried, self.asked.record.network, self.verify, self.asked.stands)
        except BadRecord as error:
            raise refusal(f"the carried record's {error.field} {error.rule}", field) from None

    def authority(self, event: Event, recorded: datetime) -> Iterable[AuthorityChange]:
        """How the event changes who may act. Only identity's events do."""
        del event, recorded
        return ()

    def decide(self, command: Command, asked: Asked) -> Aggregate[Any] | None:
        """Handle the command; the aggregate it addressed, with what was recorded pending. Raises Refused, Undeclared."""
        self.asked, self.addressed, self._pending = asked, None, 0
        if is_policy(type(command)):
            self._decide_policy(cast("PolicyCommand", command))
        else:
            # Only what begins something can be halted: the rest is spared the look.
            if command.wire.halted_by:
                self.policy.require_running(type(command), asked.now)
            self.handle(command)
        self._require_declared(command)
        return self.addressed

    def _require_declared(self, command: Command) -> None:
        if self.addressed is None:
            return
        said = recorded_by(type(command))
        for event in self.addressed.pending[self._pending :]:
            if event.wire.type not in said:
                raise Undeclared(f"{command.wire.type} recorded {event.wire.type}")

    def _decide_policy(self, command: PolicyCommand) -> None:
        policy, now = self.load(Policy), self.asked.now
        match command:
            case AdoptParameter():
                policy.adopt(command, now, self._cause(command))
            case Halt():
                policy.halt(command, now)
            case Lift():
                policy.lift(command)
            case _:
                assert_never(command)

    def _cause(self, command: AdoptParameter) -> EventId | None:
        """What governance set, where the command brings it: nothing else is adopted in its name."""
        if command.cause is None:
            return None
        record = self.carried(command.cause, "cause", CauseDiffers)
        said = {name: record.document["data"].get(name) for name in ("value", "version")}
        asked = command.model_dump(mode="json", include={"value", "version"})
        if record.subject != f"governance/parameter/{self.context}.{command.name}" or said != asked:
            raise CauseDiffers(f"{record.subject} was set to {said['value']}, version {said['version']}", "cause")
        return EventId(record.id)


def services(streams: Streams, verify: Verify) -> Iterator[Service]:
    """Every context's service that exists: the one Service subclass of each module here."""
    for context in contexts():
        yield service_class(context)(streams, verify)


def service_class(context: str) -> type[Service]:
    """The service of a context. Raises LookupError."""
    module = importlib.import_module(f"commands.{context}")
    for thing in vars(module).values():
        if isinstance(thing, type) and issubclass(thing, Service) and thing.__module__ == module.__name__:
            return thing
    raise LookupError(f"commands/{context}.py has no Service")
