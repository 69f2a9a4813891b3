"""Asking inference: open a request with its decision, try it, say what was delivered and claimed, settle it or close it."""

from typing import assert_never

from commands import Service
from contracts import Digest
from contracts.inference import (
    CloseRequest,
    EndAttempt,
    InferenceCommand,
    InferenceParameters,
    NotePayment,
    OpenRequest,
    RefuteReceipt,
    ResolveDispute,
    SettleReceipt,
    StartAttempt,
    SubmitReceipt,
)
from domain.inference import Request


class Inference(Service):
    """Requests for tokens."""

    def handle(self, command: InferenceCommand) -> None:
        asked, request = self.asked, self.load(Request)
        match command:
            case OpenRequest():
                terms = self.policy.parameters(InferenceParameters)
                request.open(command, asked.now, Digest(asked.record.hash), terms)
            case StartAttempt():
                request.start(command)
            case EndAttempt():
                request.end(command, asked.now)
            case SubmitReceipt():
                request.submit(command, asked.actor, asked.person, asked.now)
            case ResolveDispute():
                request.resolve(command, asked.actor, asked.person, asked.now)
            case RefuteReceipt():
                request.refute(command, asked.actor, asked.now)
            case SettleReceipt():
                request.settle(command)
            case NotePayment():
                request.note_payment(command)
            case CloseRequest():
                request.close(command, asked.now)
            case _:
                assert_never(command)
