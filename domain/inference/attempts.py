"""One try of one offer, and what the router observed of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from contracts.inference import (
    RECEIPT_SECONDS,
    AttemptCancelled,
    AttemptCompleted,
    AttemptEnded,
    AttemptFailed,
    EndAttempt,
    Observation,
)
from contracts.providers import OfferId
from domain.inference.refusals import HalfAnEnd


@dataclass
class Attempt:
    """`end` is None while it runs."""

    offer: OfferId
    end: AttemptEnded | None = None

    @property
    def is_payable(self) -> bool:
        return self.end is not None and is_payable(self.end)

    def may_be_invoiced(self, now: datetime) -> bool:
        """Whether its receipt comes in time."""
        return self.end is None or now <= self.end.ended_at + timedelta(seconds=RECEIPT_SECONDS)


def is_payable(end: AttemptEnded) -> bool:
    """Whatever reached the client, unless it lost a race: a client that disconnects pays for what was delivered."""
    match end:
        case AttemptCompleted():
            return True
        case AttemptFailed():
            return not end.before_first_token
        case AttemptCancelled():
            return end.delivered_bytes > 0 and end.cause != "race"
        case _:
            assert_never(end)


def ending(command: EndAttempt, offer: OfferId, now: datetime) -> AttemptEnded:
    """The event that the command asks for. Raises HalfAnEnd."""
    _refuse_half(command)
    observed = {name: getattr(command, name) for name in Observation.model_fields}
    if command.failure is not None:
        return AttemptFailed(
            number=command.number, offer=offer, failure=command.failure, before_first_token=command.delivered_bytes == 0,
            ended_at=now, **observed,
        )  # fmt: skip
    if command.cause is not None:
        return AttemptCancelled(number=command.number, offer=offer, cause=command.cause, ended_at=now, **observed)
    return AttemptCompleted(number=command.number, offer=offer, ended_at=now, **observed)


def is_same_end(one: AttemptEnded, other: AttemptEnded) -> bool:
    """But for when it was recorded."""
    return one.model_copy(update={"ended_at": other.ended_at}) == other


def _refuse_half(command: EndAttempt) -> None:
    if (command.outcome == "failed") != (command.failure is not None):
        raise HalfAnEnd(f"{command.outcome} with failure {command.failure}", "failure")
    if (command.outcome == "cancelled") != (command.cause is not None):
        raise HalfAnEnd(f"{command.outcome} with cause {command.cause}", "cause")
    if (command.delivered_bytes > 0) != (command.response_hash is not None):
        raise HalfAnEnd(f"{command.delivered_bytes} bytes with hash {command.response_hash}", "response_hash")
    if command.outcome == "completed" and (command.response_hash is None or command.finish_reason is None):
        raise HalfAnEnd("what completed has a hash and a reason", "response_hash")
