"""A request's decision, recorded once: what was asked, which offers were chosen, and why not the others."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Uuid
from contracts.inference import (
    RACERS,
    TABLE_AGE_SECONDS,
    Considered,
    InferenceEvent,
    OpenRequest,
    RequestOpened,
    RouteDecided,
)
from contracts.providers import OfferId
from domain import Aggregate, Refused


class AlreadyOpened(Refused):
    """The request is open with another decision: one request is decided once."""


class NoProviderEligible(Refused):
    """No offer may serve the request; `considered` says why not."""


class TargetUnreachable(Refused):
    """The device to which the request is pinned cannot serve it; a pin is a promise, so it goes nowhere else."""


class TableTooOld(Refused):
    """The decision used a table older than 60 s (white paper 5.2), or one of the future."""


class ConstraintBroken(Refused):
    """The chain contradicts what was asked or what was considered."""


@dataclass
class Request(Aggregate[InferenceEvent]):
    """One request for tokens."""

    opened: RequestOpened | None = None
    decided: RouteDecided | None = None

    def open(self, command: OpenRequest, now: datetime) -> None:
        """Record the request and the router's decision (white paper 5.2, 5.3).

        Raises NoProviderEligible, TargetUnreachable, TableTooOld, ConstraintBroken, AlreadyOpened.
        """
        opened = RequestOpened(
            key=command.key, block=command.block, kind=command.kind, model=command.model, stream=command.stream,
            prompt_tokens=command.prompt_tokens, max_tokens=command.max_tokens, n=command.n, request_hash=command.request_hash,
        )  # fmt: skip
        decided = RouteDecided(
            request=Uuid(self.id), model=command.model, strategy=command.strategy, constraints=command.constraints,
            prompt_tokens=command.prompt_tokens, max_tokens=command.max_tokens, n=command.n, cut=command.cut,
            as_of=command.as_of, policy_version=command.policy_version, seed=command.seed, excluded=command.excluded,
            chain=command.chain, considered=command.considered,
        )  # fmt: skip
        if self.opened is not None:
            if (self.opened, self.decided) != (opened, decided):
                raise AlreadyOpened
            return
        _refuse_empty(command)
        _refuse_contradictions(command)
        if abs(now - command.as_of) > timedelta(seconds=TABLE_AGE_SECONDS):
            raise TableTooOld(f"the table is of {command.as_of.isoformat()}, it is {now.isoformat()}", "as_of")
        self.record(opened)
        self.record(decided)

    def apply(self, event: InferenceEvent) -> None:
        match event:
            case RequestOpened():
                self.opened = event
            case RouteDecided():
                self.decided = event
            case _:
                assert_never(event)


def _refuse_empty(command: OpenRequest) -> None:
    if not command.chain:
        if command.strategy == "handoff":
            raise TargetUnreachable(f"{command.constraints.device} cannot serve it", "chain")
        raise NoProviderEligible(field="chain")


def _refuse_contradictions(command: OpenRequest) -> None:
    limits, considered = command.constraints, {entry.offer: entry for entry in command.considered}
    if limits.models is not None and command.model not in limits.models:
        raise ConstraintBroken(f"the key's scope does not have {command.model}", "model")
    if command.strategy == "handoff" and limits.device is None:
        raise ConstraintBroken("a handoff names its device", "constraints")
    if command.strategy in ("failover", "custom") and not limits.steps:
        raise ConstraintBroken(f"{command.strategy} has steps", "constraints")
    if len(set(command.chain)) != len(command.chain):
        raise ConstraintBroken("an offer stands in the chain twice", "chain")
    if len(considered) != len(command.considered):
        raise ConstraintBroken("an offer was considered twice", "considered")
    if command.strategy == "parallel" and len(command.chain) > RACERS:
        raise ConstraintBroken(f"a race is between {RACERS}", "chain")
    for offer in command.chain:
        _refuse_contradicting(offer, considered.get(offer), command)


def _refuse_contradicting(offer: OfferId, entry: Considered | None, command: OpenRequest) -> None:
    if entry is None or entry.reason is not None:
        raise ConstraintBroken(f"{offer} is chosen but was not found eligible", "considered")
    cap = command.constraints.max_price
    if cap is not None and entry.cost > cap:
        raise ConstraintBroken(f"{offer} costs {entry.cost}, above {cap}", "chain")
    if offer in command.excluded:
        raise ConstraintBroken(f"{offer} is chosen but excluded", "chain")
