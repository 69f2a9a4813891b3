"""Every command reaches the request that it is for, in the name of whoever signed it."""

from datetime import datetime
from typing import Any

import pytest

from adapters.keys import verify
from commands import Asked
from commands.inference import Inference
from contracts import (
    ZERO_HASH,
    Command,
    CommandRecord,
    Did,
    Event,
    Label,
    Record,
    event_id,
    parse_command,
    parse_event,
    read_event,
    rfc3339,
    uuid7,
)
from contracts.inference import (
    CloseRequest,
    DisputeResolved,
    EndAttempt,
    OpenRequest,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptRefuted,
    RefuteReceipt,
    RequestOpened,
    ResolveDispute,
    SettleReceipt,
    StartAttempt,
    SubmitReceipt,
    request_stream,
)
from domain.inference import OtherRequest, OwnReceipt, Request
from tests.commands.test_identity import Paper
from tests.domain.given import did, digest
from tests.domain.test_inference import NOW, REQUEST, opening
from tests.domain.test_receipts import CONSIDERED, FUNDS, a_receipt, after, an_end, nothing, terms

STREAM = request_stream(REQUEST)


class Desk:
    def __init__(self) -> None:
        self.service = Inference(Paper(), verify)
        self.asked = 0

    def record_of(self, command: Command, by: Did) -> CommandRecord:
        self.asked += 1
        fields: dict[str, Any] = {
            "subject": STREAM,
            "source": by,
            "network": "dev",
            "id": uuid7(self.asked, bytes(10)),
            "time": NOW,
        }
        return parse_command(CommandRecord.encode(command, **fields), STREAM.encode(), [("signature", b"x")])

    def ask(self, command: Command, by: str = "router", now: datetime = NOW, person: str = "") -> list[Any]:
        aggregate = self.service.decide(command, Asked(self.record_of(command, did(by)), now, person and did(person)))
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        return events

    def opened(self) -> str:
        """The hash of the command that opened it."""
        [event, _] = self.ask(opening(considered=CONSIDERED, funds=FUNDS))
        assert isinstance(event, RequestOpened)
        assert event.opened is not None
        return event.opened


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_request_goes_from_its_decision_to_its_bill() -> None:
    desk = Desk()
    opened = desk.opened()

    assert names(desk.ask(nothing(), now=after(2))) == ["AttemptFailed"]
    assert names(desk.ask(StartAttempt(number=2, offer=opening().chain[0]))) == ["AttemptStarted"]
    assert names(desk.ask(an_end(number=2), now=after(9))) == ["AttemptCompleted"]
    assert names(desk.ask(a_receipt(number=2, opened=opened), "alice", after(10))) == ["ReceiptMatched"]
    assert names(desk.ask(terms(), "process", after(11))) == ["ReceiptSettled"]


def test_a_receipt_names_the_signed_command_that_opened_its_request() -> None:
    """Its bytes, not its fields: two requests for the same have two."""
    desk, other = Desk(), Desk()
    other.asked = 7
    opened, another = desk.opened(), other.opened()
    desk.ask(an_end(), now=after(9))

    assert opened != another
    with pytest.raises(OtherRequest):
        desk.ask(a_receipt(opened=another), "alice", after(10))


def test_a_receipt_is_its_signer_s() -> None:
    desk = Desk()
    claim = a_receipt(opened=desk.opened(), completion_tokens=1_000_000)
    desk.ask(an_end(), now=after(9))

    [event] = desk.ask(claim, "alice", after(10), "the alice of before")

    assert isinstance(event, ReceiptDisputed)
    assert (event.device, event.person) == (did("alice"), did("the alice of before"))


def test_a_rotated_key_is_no_second_person_who_could_resolve_a_dispute() -> None:
    desk = Desk()
    claim = a_receipt(opened=desk.opened(), completion_tokens=1_000_000)
    desk.ask(an_end(), now=after(9))
    desk.ask(claim, "alice", after(10), "the alice of before")
    answer = ResolveDispute(device=did("alice"), prompt_tokens=1, completion_tokens=1, basis=Label("recount"))

    with pytest.raises(OwnReceipt):
        desk.ask(answer, "alice's arbiter", after(20), "the alice of before")
    [event] = desk.ask(answer, "arbiter", after(20))

    assert isinstance(event, DisputeResolved)
    assert event.resolved_by == did("arbiter")


def test_a_receipt_is_refuted_and_a_request_is_closed() -> None:
    desk = Desk()
    opened = desk.opened()
    desk.ask(an_end(), now=after(9))
    [matched] = desk.ask(a_receipt(opened=opened), "alice", after(10))
    [refuted] = desk.ask(RefuteReceipt(device=did("alice"), evidence=digest("probe")), "oracle", after(11))

    assert isinstance(matched, ReceiptMatched)
    assert isinstance(refuted, ReceiptRefuted)
    assert refuted.refuted_by == did("oracle")
    assert names(desk.ask(CloseRequest(cause="no_receipt"), "process", after(700))) == ["RequestClosed"]


def test_who_may_say_what() -> None:
    kinds = (StartAttempt, EndAttempt, SubmitReceipt, ResolveDispute, RefuteReceipt, SettleReceipt, CloseRequest, OpenRequest)

    assert {kind.__name__: kind.wire.roles for kind in kinds} == {
        "OpenRequest": ("inference.router",), "StartAttempt": ("inference.router",), "EndAttempt": ("inference.router",),
        "SubmitReceipt": ("inference.gpu",), "ResolveDispute": ("inference.arbiter",), "RefuteReceipt": ("inference.oracle",),
        "SettleReceipt": ("inference.process",), "CloseRequest": ("inference.process", "inference.router"),
    }  # fmt: skip


def test_a_record_that_is_older_than_funds_is_read_and_opened_again_without_a_trace() -> None:
    """Its fields are those of before, and so is the decision that is derived from it again."""
    desk = Desk()
    command = desk.record_of(opening(), did("router"))
    ours = Request(STREAM)
    ours.open(opening(), NOW)
    opened, decided = ours.pending
    value = Record.encode(
        opened, id=event_id(did("router"), command.id, 0), command=command, source=did("writer"), time=rfc3339(NOW),
        shard="inference.events/0", sequence=0, streamversion=1, prevhash=ZERO_HASH,
    )  # fmt: skip

    said = parse_event(value).document
    again = Request(STREAM)
    again.replay(read_event(said))  # type: ignore[arg-type]
    again.replay(decided)
    again.open(opening(), NOW, digest("the hash that nobody kept then"))

    assert not {"funds", "opened"} & said["data"].keys()
    assert not again.pending
